"""Vectors of label texts are kept beside the models, for whoever shares them, and by what they were made of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np

from encoders.types import Embeddings, ModelSpec
from encoders.vision.joint import cached_label_vectors

SPEC = ModelSpec("joint", "vision", ("text", "image"), 3, "MIT", "r1", "p1")


class FakeModel:
    def __init__(self) -> None:
        self.calls = 0

    def embed(self, texts: Sequence[str]) -> Embeddings:
        self.calls += 1
        vectors = np.full((len(texts), 3), self.calls, dtype=np.float32)
        return Embeddings(vectors, (1,) * len(texts))


def test_they_are_made_once_for_the_same_weights_and_texts(tmp_path: Path) -> None:
    model = FakeModel()

    def made(spec: ModelSpec = SPEC, names: Sequence[str] = ("cat", "dog")) -> float:
        vectors = cached_label_vectors(cast(Any, model), spec, names, tmp_path)
        assert vectors.shape == (len(names), 3)
        return float(vectors[0, 0])

    assert [made(), made()] == [1, 1]
    assert made(replace(SPEC, revision="r2")) == 2
    assert made(replace(SPEC, preprocessing="p2")) == 3
    assert made(names=("cat", "cow")) == 4
    files = list((tmp_path / ".label-vectors").iterdir())
    assert len(files) == 4
    assert {path.stat().st_mode & 0o777 for path in files} == {0o644}
    for path in files:
        path.write_bytes(b"damaged")
    assert made() == 5


def test_a_folder_that_cannot_be_written_costs_only_time(tmp_path: Path) -> None:
    (tmp_path / ".label-vectors").write_bytes(b"in the way")
    vectors = cached_label_vectors(cast(Any, FakeModel()), SPEC, ("cat",), tmp_path)
    assert vectors.shape == (1, 3)
