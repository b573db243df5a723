"""Texts that come as token ids, as some of OpenAI's clients send them, back as texts.

The ids are those of the served text model's own tokenizer. Those of OpenAI's tokenizers mean other words here; most
of them lie outside its vocabulary and are refused. Text is what travels on, so that a text has one vector and one
cache entry, however it was sent.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
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
        tokenizer = self._tokenizer
        size = tokenizer.size
        texts = []
        for index, ids in enumerate(arrays):
            wrong = next((one for one in ids if not 0 <= one < size), None)
            if wrong is not None:
                raise InvalidRequest(
                    f"The token {wrong} in 'input' (array {index}) is none of the {size} of the model "
                    f"'{self._model}'. Token arrays must come from that model's own tokenizer; or send the texts.",
                    "input",
                )
            text = tokenizer.text(ids)
            if not text.strip():
                raise InvalidRequest(f"The tokens in 'input' (array {index}) stand for no text.", "input")
            texts.append(text)
        return texts

    @cached_property
    def _tokenizer(self) -> _Tokenizer:
        from tokenizers import Tokenizer  # costs 50 ms and is seldom needed

        tokenizer = Tokenizer.from_file(str(self._file))
        padding = tokenizer.padding
        tokenizer.no_padding()
        encoding = tokenizer.encode("a")
        special = list(encoding.special_tokens_mask)
        own = [place for place, one in enumerate(special) if not one] or [0]
        return _Tokenizer(
            tokenizer,
            list(encoding.ids[: own[0]]),
            list(encoding.ids[own[-1] + 1 :]),
            None if padding is None else int(padding["pad_id"]),
        )


@dataclass(frozen=True, slots=True)
class _Tokenizer:
    """A tokenizer, and the special tokens that it puts before, after and around a text."""

    tokenizer: Tokenizer
    before: list[int]
    after: list[int]
    padding: int | None

    @property
    def size(self) -> int:
        return int(self.tokenizer.get_vocab_size(with_added_tokens=True))

    def text(self, ids: Sequence[int]) -> str:
        own = list(ids)
        if self.padding is not None:
            kept = [place for place, one in enumerate(own) if one != self.padding]
            own = own[kept[0] : kept[-1] + 1] if kept else []
        if self.before and own[: len(self.before)] == self.before:
            own = own[len(self.before) :]
        if self.after and own[-len(self.after) :] == self.after:
            own = own[: -len(self.after)]
        return str(self.tokenizer.decode(own, skip_special_tokens=False))


def _is_array(given: Any) -> TypeGuard[list[int]]:
    return isinstance(given, list) and bool(given) and isinstance(given[0], int)
