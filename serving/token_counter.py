"""Counting the decoder's tokens in the gateway, for prompt budgets."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

__all__ = ["token_counter"]

_BYTES_PER_TOKEN = 2.5


def token_counter(tokenizer_file: Path | None) -> Callable[[str], int]:
    """A function that counts tokens with a ``tokenizer.json``.

    Without a file an estimate on the safe side is used (no common tokenizer needs more than one token for two
    and a half bytes of running text).
    """
    if tokenizer_file is None:
        return lambda text: math.ceil(len(text.encode("utf-8")) / _BYTES_PER_TOKEN)
    from tokenizers import Tokenizer  # costs 50 ms and is not needed without a file

    tokenizer = Tokenizer.from_file(str(tokenizer_file))
    return lambda text: len(tokenizer.encode(text, add_special_tokens=False).ids)
