"""Running the text tower of a joint model: whole texts, however short the tower's context is.

CLIP reads 77 tokens and SigLIP 64. A longer text is cut into chunks of that length, and its vector is the mean
of the chunks' vectors weighted by their tokens, normalised again; ``chunk_count`` says so. Nothing is dropped
silently.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from encoders.batching.encoder import run_by_bucket
from encoders.text.encoder import (
    TextEmbedding,
    check_dimensions,
    joined_pieces,
    prompt_of,
    shortened,
    split_tokens,
    stacked,
    unit_rows,
)
from encoders.torch_device import Placement, Staged
from encoders.types import Embeddings

if TYPE_CHECKING:
    import torch

__all__ = ["ChunkedText", "ReadText", "TextRules", "TextTower", "special_tokens"]

ReadText = Callable[["torch.Tensor", "torch.Tensor | None"], "torch.Tensor"]
"""The network: token ids and attention mask ``(chunks, length)`` to pooled vectors ``(chunks, dimensions)``."""

_LENGTH_STEP = 8  # padded lengths are multiples of this, so that few shapes occur
_CPU_PASS, _GPU_PASS = 16, 256  # chunks in one forward pass


@dataclass(frozen=True, slots=True)
class TextRules:
    """How a checkpoint wants its texts.

    ``max_tokens`` is its context with special tokens. ``fixed_length``: every text is padded to it, because the
    tower was trained so and reads its padding (SigLIP). ``masked``: the network is told what is padding.
    ``prompts`` are instructions by name; ``smallest_dimensions`` what its vectors may be cut to (Matryoshka; None:
    they may not).
    """

    max_tokens: int
    fixed_length: bool = False
    masked: bool = False
    prompts: Mapping[str, str] = field(default_factory=dict)
    smallest_dimensions: int | None = None


@dataclass(frozen=True, slots=True)
class ChunkedText:
    """One text ready to run: token ids ``(chunks, length)`` on their way to the device, real tokens of each
    chunk.
    """

    ids: Staged
    mask: Staged
    chunk_tokens: tuple[int, ...]
    token_count: int


def special_tokens(tokenizer: Any) -> tuple[list[int], list[int]]:
    """The token ids that the tokenizer puts before and after every text."""
    bare: list[int] = tokenizer("a", add_special_tokens=False)["input_ids"]
    dressed: list[int] = tokenizer("a")["input_ids"]
    start = next(at for at in range(len(dressed)) if dressed[at : at + len(bare)] == bare)
    return dressed[:start], dressed[start + len(bare) :]


class TextTower:
    """A loaded text tower: a ``TextEncoder`` and a ``BatchEncoder`` of texts. Thread-safe."""

    def __init__(
        self, read: ReadText, tokenizer: Any, rules: TextRules, placement: Placement, dimensions: int
    ) -> None:
        self.dimensions = dimensions
        self._read = read
        self._tokenizer = tokenizer
        self._rules = rules
        self._placement = placement
        self._pass = _GPU_PASS if placement.on_gpu else _CPU_PASS
        self._pad = int(tokenizer.pad_token_id or 0)
        self._left = tokenizer.padding_side == "left"
        self._before, self._after = special_tokens(tokenizer)
        # A text is a text: "<|endoftext|>" in it must not end it, nor a picture's mark stand for a picture. As an
        # attribute, because changing it from call to call is not safe from several threads.
        tokenizer.split_special_tokens = True

    def embed(
        self, texts: Sequence[str], instruction: str | None = None, dimensions: int | None = None
    ) -> Embeddings:
        """Embed texts, keeping their order: float32 ``(n, dimensions)``, rows of norm 1.

        ``instruction`` is one of the checkpoint's prompts by name, or a text to put before each. Raises
        ``ValueError`` for ``dimensions`` that the checkpoint was not trained to be cut to.
        """
        check_dimensions(dimensions, self.dimensions, self._rules.smallest_dimensions)
        prompt = prompt_of(instruction, self._rules.prompts)
        results: list[TextEmbedding] = []
        for start in range(0, len(texts), self._pass):
            prepared = self.prepare([prompt + text for text in texts[start : start + self._pass]])
            results += run_by_bucket(self, prepared)
        whole = stacked(results, self.dimensions)
        return replace(whole, vectors=shortened(whole.vectors, dimensions))

    def prepare(self, items: Sequence[str]) -> list[ChunkedText]:
        """Tokenise, cut into chunks, pad."""
        if not items:
            return []
        # A text's whole length is what is wanted, so no cutting and no warning about it.
        encoded = self._tokenizer(list(items), verbose=False)["input_ids"]
        return [self._chunked(ids) for ids in encoded]

    def bucket(self, prepared: ChunkedText) -> Hashable:
        """The padded length."""
        return int(prepared.ids.tensor.shape[1])

    def cost(self, prepared: ChunkedText) -> int:
        """Tokens with padding."""
        return int(prepared.ids.tensor.numel())

    def run(self, batch: Sequence[ChunkedText]) -> list[TextEmbedding]:
        """The network on prepared texts of one bucket; the chunks of all share batches."""
        if not batch:
            return []
        import torch

        ids = self._placement.land([one.ids for one in batch])
        mask = self._placement.land([one.mask for one in batch]) if self._rules.masked else None
        parts = []
        with torch.inference_mode():
            for start in range(0, len(ids), self._pass):
                stop = start + self._pass
                part = self._read(ids[start:stop], None if mask is None else mask[start:stop])
                parts.append(part.float().cpu().numpy())
        vectors = unit_rows(np.concatenate(parts))
        ends = np.cumsum([len(one.chunk_tokens) for one in batch])[:-1]
        return [
            TextEmbedding(joined_pieces(chunks, one.chunk_tokens), one.token_count, len(one.chunk_tokens))
            for chunks, one in zip(np.split(vectors, ends), batch, strict=True)
        ]

    def _chunked(self, ids: list[int]) -> ChunkedText:
        most = self._rules.max_tokens
        chunks, weights = [ids], [len(ids)]
        if len(ids) > most:
            content = ids[len(self._before) : len(ids) - len(self._after)]
            room = most - len(self._before) - len(self._after)
            pieces = split_tokens(content, room)
            chunks = [self._before + piece + self._after for piece in pieces]
            weights = [len(piece) for piece in pieces]
        longest = max(map(len, chunks))
        length = most if self._rules.fixed_length else min(most, -(-longest // _LENGTH_STEP) * _LENGTH_STEP)
        table = np.full((len(chunks), length), self._pad, dtype=np.int64)
        real = np.zeros((len(chunks), length), dtype=np.int64)
        for row, chunk in enumerate(chunks):
            place = slice(length - len(chunk), length) if self._left else slice(0, len(chunk))
            table[row, place], real[row, place] = chunk, 1
        stage = self._placement.stage
        return ChunkedText(stage(table), stage(real), tuple(weights), len(ids))
