"""What a text model offers, what it gives per text, and the arithmetic on vectors that all text models share.

Pooling several tokens into one vector is the network's own business (``encoders.text.token_pooling``); here is what
comes after it: unit length, joining the pieces of a long text, cutting to fewer dimensions, instructions.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from encoders.types import Embeddings, Vector

__all__ = [
    "TextEmbedding",
    "TextEncoder",
    "TokenizedText",
    "check_dimensions",
    "joined_pieces",
    "prompt_of",
    "shortened",
    "split_tokens",
    "stacked",
    "text_of",
    "unit_rows",
]

_SMALLEST_NORM = 1e-12  # a zero vector stays zero instead of becoming NaN


@dataclass(frozen=True, slots=True, eq=False)
class TokenizedText:
    """A text as the network reads it: token ids ``(n,)`` with special tokens, cut to the model's length."""

    ids: NDArray[np.int32]


@dataclass(frozen=True, slots=True, eq=False)
class TextEmbedding:
    """One text's vector: float32 ``(dimensions,)``, norm 1.

    ``token_count`` is how many tokens were read, ``chunk_count`` into how many pieces the text was cut; the
    vector is then the mean of the pieces' vectors, weighted by their tokens.
    """

    vector: Vector
    token_count: int
    chunk_count: int = 1


@runtime_checkable
class TextEncoder(Protocol):
    """A loaded text model; also a ``BatchEncoder[str, Prepared, TextEmbedding]`` for the micro-batcher.

    ``prepare`` and ``run`` know no instruction and give all dimensions.
    """

    def embed(
        self, texts: Sequence[str], instruction: str | None = None, dimensions: int | None = None
    ) -> Embeddings:
        """Embed texts, keeping their order. Thread-safe.

        ``instruction`` is the name of one of the model's prompts or any text; it is put before each text.
        ``dimensions`` keeps only the first so many, normalised again, for models trained for it (Kusupati et al.
        2022, Matryoshka representation learning). Raises ``ValueError`` for dimensions the model does not have.
        """
        ...

    def prepare(self, items: Sequence[str]) -> list[Any]:
        """Tokenise: one result per text. Called from several threads."""
        ...

    def bucket(self, prepared: Any) -> Hashable:
        """Texts of like length share a batch."""
        ...

    def cost(self, prepared: Any) -> int:
        """Tokens the network computes for it."""
        ...

    def run(self, batch: Sequence[Any]) -> list[TextEmbedding]:
        """The network, on tokenised texts: one result each, order kept."""
        ...


def text_of(model: Any) -> TextEncoder:
    """What the micro-batcher of texts runs: a joint model's text side, or the text model itself."""
    side: TextEncoder = getattr(model, "text", model)
    return side


def stacked(results: Sequence[TextEmbedding], dimensions: int) -> Embeddings:
    """Results of ``run`` as one ``Embeddings``; float32 ``(0, dimensions)`` for none."""
    vectors = np.empty((len(results), len(results[0].vector) if results else dimensions), dtype=np.float32)
    for row, result in zip(vectors, results, strict=True):
        row[:] = result.vector
    return Embeddings(
        vectors,
        tuple(result.token_count for result in results),
        tuple(result.chunk_count for result in results),
    )


def unit_rows(vectors: NDArray[Any]) -> Vector:
    """Rows of ``(n, dimensions)`` at L2 norm 1, float32. Rows of zeros stay zeros."""
    norms = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return np.asarray(vectors / np.maximum(norms, _SMALLEST_NORM), dtype=np.float32)


def split_tokens(ids: Sequence[int], room: int) -> list[list[int]]:
    """Token ids without special tokens as pieces of at most ``room``, in order; one empty piece for none.

    Pieces are of like length, so that none is a meaningless rest of two words.
    """
    if room < 1:
        raise ValueError("room must be at least 1")
    count = max(1, -(-len(ids) // room))
    bounds = [len(ids) * piece // count for piece in range(count + 1)]
    return [list(ids[start:stop]) for start, stop in pairwise(bounds)]


def joined_pieces(pieces: Vector, token_counts: Sequence[int]) -> Vector:
    """One unit vector ``(dimensions,)`` of a text's pieces ``(pieces, dimensions)``: their mean by tokens."""
    if len(token_counts) != len(pieces) or not len(pieces):
        raise ValueError("there must be one token count for each of at least one piece")
    if len(pieces) == 1:
        only: Vector = pieces[0]
        return only
    weights = np.maximum(np.asarray(token_counts, dtype=np.float32), 1)
    mean: Vector = (weights / weights.sum()) @ pieces
    return unit_rows(mean)


def check_dimensions(dimensions: int | None, full: int, smallest: int | None) -> None:
    """Raise ``ValueError`` unless vectors of ``full`` dimensions may be cut to ``dimensions``.

    ``smallest`` is the shortest a Matryoshka model was trained for; ``None`` for other models, whose first
    dimensions mean nothing by themselves.
    """
    if dimensions is None or dimensions == full:
        return
    if smallest is None:
        raise ValueError(f"This model's embeddings have {full} dimensions and cannot be cut to {dimensions}.")
    if not smallest <= dimensions <= full:
        raise ValueError(
            f"This model's embeddings can have {smallest} to {full} dimensions, not {dimensions}."
        )


def shortened(vectors: Vector, dimensions: int | None) -> Vector:
    """The first ``dimensions`` of vectors ``(..., full)``, at norm 1 again; as they are for ``None``."""
    if dimensions is None or dimensions == vectors.shape[-1]:
        return vectors
    if not 0 < dimensions < vectors.shape[-1]:
        raise ValueError(f"vectors of {vectors.shape[-1]} dimensions cannot be cut to {dimensions}")
    return unit_rows(vectors[..., :dimensions])


def prompt_of(instruction: str | None, prompts: Mapping[str, str], default: str | None = None) -> str:
    """What is put before each text: a prompt by its name, the instruction itself, or the default prompt."""
    if instruction is None:
        return prompts.get(default, "") if default is not None else ""
    return prompts.get(instruction, instruction)
