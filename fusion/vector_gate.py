"""One vector for an item of several parts: the parts' vectors, weighed by the gate, without torch.

``fusion.gate.Gate`` evaluated with numpy, so that the gateway can do it. Without weights the gate weighs all
modalities alike, as the untrained module does. Weights come from a safetensors file of the module's ``state_dict``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from encoders.types import Vector
from fusion.errors import FusionError, VectorsCancel

__all__ = ["MODALITIES", "FusedVector", "VectorGate"]

MODALITIES = ("text", "image", "audio", "video")
"""The gate's modalities, in the order of its scores."""

_Array: TypeAlias = NDArray[np.float32]

_LARGEST_FILE_BYTES = 256 << 20
_NORM_EPSILON = 1e-5  # of torch's layer_norm
_SHORTEST = 1e-4


@dataclass(frozen=True, slots=True)
class FusedVector:
    """``vector`` is float32 ``(dimensions,)`` of norm 1; ``weights``, by modality of what was there, sum to 1."""

    vector: Vector
    weights: Mapping[str, float]


class VectorGate:
    """Weighs vectors of one space by their modalities. Holds no state but its weights; may be shared by threads."""

    def __init__(self, dimensions: int, weights: Mapping[str, _Array] | None = None) -> None:
        """``weights`` are named and shaped as in the ``state_dict`` of a ``Gate`` with ``MODALITIES``, each
        ``dimensions`` wide. Raises ``FusionError`` if they are not.
        """
        self._weights = None if weights is None else _checked(weights, dimensions)

    @classmethod
    def load(cls, file: Path, dimensions: int) -> VectorGate:
        """The gate of a safetensors file. Raises ``FusionError`` when it cannot be read or does not fit."""
        from safetensors import SafetensorError
        from safetensors.numpy import load_file

        try:
            if file.stat().st_size > _LARGEST_FILE_BYTES:
                raise FusionError("The gate's file is far too large to be one.")
            weights = load_file(file)
        except (OSError, SafetensorError) as error:
            raise FusionError("The gate's file cannot be read as safetensors.") from error
        return cls(dimensions, weights)

    def fuse(self, parts: Sequence[tuple[str, Vector]]) -> FusedVector:
        """The vector of an item with these parts: modality and unit vector of each, in any order.

        Parts of one modality are averaged first: three pictures and a sentence are weighed as picture and sentence.
        Raises ``VectorsCancel`` when hardly anything is left.
        """
        means = {
            modality: _unit(np.mean([vector for one, vector in parts if one == modality], axis=0))
            for modality in dict.fromkeys(one for one, _ in parts)
        }
        weights = self.weigh(means)
        fused = np.sum([np.float32(weight) * means[one] for one, weight in weights.items()], axis=0)
        return FusedVector(_unit(fused), weights)

    def weigh(self, vectors: Mapping[str, Vector]) -> dict[str, float]:
        """The gate's weights of what is there, one vector a modality, in the order of ``MODALITIES``."""
        present = [modality for modality in MODALITIES if modality in vectors]
        if not present or len(present) < len(vectors):
            raise FusionError(f"Vectors of {', '.join(MODALITIES)} can be weighed, and one at least.")
        scores = self._scores({modality: vectors[modality] for modality in present})
        some = np.array([scores[MODALITIES.index(modality)] for modality in present])
        shares = np.exp(some - some.max())
        return {
            modality: float(share) for modality, share in zip(present, shares / shares.sum(), strict=True)
        }

    def _scores(self, vectors: Mapping[str, Vector]) -> _Array:
        weights = self._weights
        if weights is None:
            return np.zeros(len(MODALITIES), np.float32)
        inner = np.zeros(weights["score.weight"].shape[1], np.float32)
        for modality, vector in vectors.items():
            inner += weights[f"project.{modality}.weight"] @ _normalised(vector)
            inner += weights[f"project.{modality}.bias"]
        scores: _Array = weights["score.weight"] @ np.tanh(inner) + weights["score.bias"]
        return scores


def _checked(weights: Mapping[str, _Array], dimensions: int) -> dict[str, _Array]:
    score = weights.get("score.weight")
    inner = score.shape[1] if score is not None and score.ndim == 2 else 0
    shapes: dict[str, tuple[int, ...]] = {
        "score.weight": (len(MODALITIES), inner),
        "score.bias": (len(MODALITIES),),
    }
    for modality in MODALITIES:
        shapes[f"project.{modality}.weight"] = (inner, dimensions)
        shapes[f"project.{modality}.bias"] = (inner,)
    if inner == 0 or weights.keys() != shapes.keys():
        raise FusionError(f"The gate's weights must be of a gate over {', '.join(MODALITIES)}.")
    for name, shape in shapes.items():
        array = weights[name]
        if array.shape != shape or array.dtype != np.float32 or not np.isfinite(array).all():
            raise FusionError(f"The gate's '{name}' must be finite float32 numbers of the shape {shape}.")
    return dict(weights)


def _normalised(vector: Vector) -> _Array:
    """``torch.nn.functional.layer_norm`` without scale and shift; float64 for vectors of nearly equal numbers."""
    numbers = vector.astype(np.float64)
    centred = numbers - numbers.mean()
    normalised: _Array = (centred / np.sqrt(np.square(centred).mean() + _NORM_EPSILON)).astype(np.float32)
    return normalised


def _unit(vector: Vector) -> Vector:
    length = float(np.linalg.norm(vector))
    if length < _SHORTEST:
        raise VectorsCancel(
            "The parts of this item cancel each other out: together they have no place in the space."
        )
    unit: Vector = (vector / length).astype(np.float32)
    return unit
