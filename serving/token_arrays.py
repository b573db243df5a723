"""Texts that come as token ids, as some of OpenAI's clients send them, back as texts.

The ids are those of the served text model's own tokenizer. Those of OpenAI's tokenizers mean other words here; most of
them lie outside its vocabulary and are refused. Text is what travels on, so that a text has one vector and one cache
entry, however it was sent.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeGuard

from serving.errors import InvalidRequest, LimitExceeded

if TYPE_CHECKING:
    from tokenizers import Tokenizer

__all__ = ["TokenArrays", "token_arrays_in"]


def token_arrays_in(given: Any) -> list[list[int]] | None:
    """What an embeddings request's ``input`` holds, if that is a token array or a list of them."""
    if _is_array(given):
        return [given]
    if isinstance(given, list) and given and all(map(_is_array, given)):
        return given
    return None


class TokenArrays:
    """Reads the token ids of one model. ``tokenizer_file`` is read when it is first needed."""

    def __init__(self, tokenizer_file: Path | None, model: str, max_tokens: int) -> None:
        self._file = tokenizer_file
        self._model = model
        self._max_tokens = max_tokens

    async def texts(self, arrays: Sequence[Sequence[int]]) -> list[str]:
        """The texts that the arrays stand for, without the special tokens around them.

        Raises ``InvalidRequest`` for ids that are none of the tokenizer's, ``LimitExceeded`` for too many.
        """
        if self._file is None:
            raise InvalidRequest(
                f"The model '{self._model}' takes no token arrays here: send the texts themselves.", "input"
            )
        count = sum(map(len, arrays))
        if count > self._max_tokens:
            raise LimitExceeded(
                f"'input' holds {count} tokens; at most {self._max_tokens} are taken (max_embedding_characters).",
                "input",
            )
        return await asyncio.to_thread(self._read, arrays)

    # In a thread:

    def _read(self, arrays: Sequence[Sequence[int]]) -> list[str]:
        tokenizer, (before, after) = self._tokenizer, self._around
        size = tokenizer.get_vocab_size(with_added_tokens=True)
        texts = []
        for index, ids in enumerate(arrays):
            wrong = next((one for one in ids if not 0 <= one < size), None)
            if wrong is not None:
                raise InvalidRequest(
                    f"The token {wrong} in 'input' (array {index}) is none of the {size} of the model "
                    f"'{self._model}'. Token arrays must come from that model's own tokenizer; or send the texts.",
                    "input",
                )
            own = list(ids)
            if before and own[: len(before)] == before:
                own = own[len(before) :]
            if after and own[-len(after) :] == after:
                own = own[: -len(after)]
            text = tokenizer.decode(own, skip_special_tokens=False)
            if not text.strip():
                raise InvalidRequest(f"The tokens in 'input' (array {index}) stand for no text.", "input")
            texts.append(text)
        return texts

    @cached_property
    def _tokenizer(self) -> Tokenizer:
        from tokenizers import Tokenizer  # costs 50 ms and is seldom needed

        return Tokenizer.from_file(str(self._file))

    @cached_property
    def _around(self) -> tuple[list[int], list[int]]:
        """The special tokens that the tokenizer puts before and after a text."""
        tokenizer = self._tokenizer
        encoding = tokenizer.encode("a")
        special = list(encoding.special_tokens_mask)
        if 0 not in special:
            return [], []
        first = special.index(0)
        last = len(special) - special[::-1].index(0)
        padding = [place for place, attended in enumerate(encoding.attention_mask) if not attended]
        end = padding[0] if padding else len(special)
        return list(encoding.ids[:first]), list(encoding.ids[last:end])


def _is_array(given: Any) -> TypeGuard[list[int]]:
    return isinstance(given, list) and bool(given) and isinstance(given[0], int)
