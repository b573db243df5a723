"""The gate with numpy: torch's own gate number for number, fair until trained, and one unit vector out of many."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from fusion.errors import FusionError, VectorsCancel
from fusion.vector_gate import MODALITIES, VectorGate

DIMENSIONS = 12

numbers = st.floats(-1, 1, width=32, allow_subnormal=False)
unit_vectors = (
    arrays(np.float32, DIMENSIONS, elements=numbers)
    .filter(lambda vector: np.linalg.norm(vector) > 0.1)
    .map(lambda vector: (vector / np.linalg.norm(vector)).astype(np.float32))
)
some_parts = st.lists(st.tuples(st.sampled_from(MODALITIES), unit_vectors), min_size=1, max_size=6)


def weights_of(seed: int, inner: int = 5) -> dict[str, np.ndarray]:
    """Weights as of a trained gate."""
    random = np.random.default_rng(seed)

    def some(*shape: int) -> np.ndarray:
        return random.normal(size=shape).astype(np.float32)

    weights = {"score.weight": some(len(MODALITIES), inner), "score.bias": some(len(MODALITIES))}
    for modality in MODALITIES:
        weights[f"project.{modality}.weight"] = some(inner, DIMENSIONS)
        weights[f"project.{modality}.bias"] = some(inner)
    return weights


def of(*vectors: np.ndarray) -> np.ndarray:
    total = np.sum(vectors, axis=0)
    return total / np.linalg.norm(total)


@settings(deadline=None, max_examples=60)
@given(
    vectors=st.dictionaries(st.sampled_from(MODALITIES), unit_vectors, min_size=1),
    seed=st.integers(0, 1000),
)
def test_it_is_torchs_gate(vectors: dict[str, np.ndarray], seed: int) -> None:
    import torch

    from fusion.gate import Gate

    weights = weights_of(seed)
    module = Gate(tuple((modality, DIMENSIONS) for modality in MODALITIES), inner_width=5)
    module.load_state_dict({name: torch.from_numpy(array) for name, array in weights.items()})
    module.double()  # in float32 torch's own layer norm makes noise of vectors whose numbers are all but equal
    with torch.no_grad():
        expected = module(
            {name: torch.from_numpy(vector)[None].double() for name, vector in vectors.items()},
            {name: torch.ones(1, dtype=torch.bool) for name in vectors},
        )[0]
    got = VectorGate(DIMENSIONS, weights).weigh(vectors)
    assert list(got) == [modality for modality in MODALITIES if modality in vectors]
    for place, modality in enumerate(MODALITIES):
        assert got.get(modality, 0.0) == pytest.approx(float(expected[place]), abs=1e-5)


def test_a_saved_gate_is_loaded_and_an_untrained_one_is_as_none(tmp_path: Path) -> None:
    import torch
    from safetensors.torch import save_file

    from fusion.gate import Gate

    module = Gate(tuple((modality, DIMENSIONS) for modality in MODALITIES))
    vectors = {"text": of(np.eye(DIMENSIONS)[0]), "audio": of(np.eye(DIMENSIONS)[1])}
    save_file(module.state_dict(), tmp_path / "gate.safetensors")
    untrained = VectorGate.load(tmp_path / "gate.safetensors", DIMENSIONS)
    assert untrained.weigh(vectors) == VectorGate(DIMENSIONS).weigh(vectors) == {"text": 0.5, "audio": 0.5}
    with torch.no_grad():
        module.score.bias.copy_(torch.tensor([np.log(3.0), 0.0, 0.0, 0.0]))
    save_file(module.state_dict(), tmp_path / "gate.safetensors")
    trained = VectorGate.load(tmp_path / "gate.safetensors", DIMENSIONS).weigh(vectors)
    assert trained == {"text": pytest.approx(0.75), "audio": pytest.approx(0.25)}


@settings(deadline=None)
@given(parts=some_parts, seed=st.none() | st.integers(0, 50))
def test_the_result_is_a_unit_vector_among_its_parts_whatever_their_order(parts, seed) -> None:
    gate = VectorGate(DIMENSIONS, None if seed is None else weights_of(seed))
    try:
        fused = gate.fuse(parts)
    except VectorsCancel:
        return
    assert fused.vector.dtype == np.float32
    assert np.linalg.norm(fused.vector) == pytest.approx(1.0, abs=1e-5)
    assert sum(fused.weights.values()) == pytest.approx(1.0)
    assert set(fused.weights) == {modality for modality, _ in parts}
    assert all(weight > 0 for weight in fused.weights.values())
    again = gate.fuse(parts[::-1])
    # What is nearly nothing before it is brought to length 1 may be anything afterwards.
    assert again.weights == pytest.approx(fused.weights, abs=1e-3)


@given(vector=unit_vectors, modality=st.sampled_from(MODALITIES), seed=st.none() | st.integers(0, 50))
def test_one_part_stays_what_it_is(vector: np.ndarray, modality: str, seed: int | None) -> None:
    fused = VectorGate(DIMENSIONS, None if seed is None else weights_of(seed)).fuse([(modality, vector)])
    np.testing.assert_allclose(fused.vector, vector, atol=1e-6)
    assert fused.weights == {modality: 1.0}


def test_several_parts_of_one_modality_count_once() -> None:
    one, other, third, words = np.eye(DIMENSIONS, dtype=np.float32)[:4]
    parts = [("image", one), ("text", words), ("image", other), ("image", third)]
    fused = VectorGate(DIMENSIONS).fuse(parts)
    assert fused.weights == {"text": 0.5, "image": 0.5}
    np.testing.assert_allclose(fused.vector, of(words, of(one, other, third)), atol=1e-6)


def test_parts_that_cancel_each_other_out_have_no_vector() -> None:
    one = np.eye(DIMENSIONS, dtype=np.float32)[0]
    for modality in ("text", "image"):
        with pytest.raises(VectorsCancel):
            VectorGate(DIMENSIONS).fuse([("text", one), (modality, -one)])


ONES = np.ones(DIMENSIONS, np.float32)


@pytest.mark.parametrize("parts", [[], [("smell", ONES)], [("text", ONES), ("smell", ONES)]])
def test_what_cannot_be_weighed_is_refused(parts: list) -> None:
    with pytest.raises(FusionError):
        VectorGate(DIMENSIONS).fuse(parts)


def test_files_and_weights_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    from safetensors.numpy import save_file

    file = tmp_path / "gate.safetensors"
    with pytest.raises(FusionError, match="cannot be read"):
        VectorGate.load(file, DIMENSIONS)
    file.write_bytes(b"\x80\x04 no safetensors")
    with pytest.raises(FusionError, match="cannot be read"):
        VectorGate.load(file, DIMENSIONS)
    good = weights_of(1)
    save_file(good, file)
    with pytest.raises(FusionError, match="shape"):
        VectorGate.load(file, DIMENSIONS + 1)
    wrong = (
        {name: array for name, array in good.items() if name != "project.audio.bias"},
        {**good, "more": np.zeros(1, np.float32)},
        {**good, "score.bias": good["score.bias"].astype(np.float64)},
        {**good, "score.bias": good["score.bias"] * np.float32("nan")},
        {**good, "score.weight": good["score.weight"][:3]},
        {**good, "score.weight": np.zeros(4, np.float32)},
        {},
    )
    for weights in wrong:
        with pytest.raises(FusionError):
            VectorGate(DIMENSIONS, weights)


def test_it_needs_no_torch(tmp_path: Path) -> None:
    from safetensors.numpy import save_file

    save_file(weights_of(1), tmp_path / "gate.safetensors")
    script = (
        "import sys, pathlib, numpy; from fusion.vector_gate import VectorGate;"
        f"gate = VectorGate.load(pathlib.Path(sys.argv[1]), {DIMENSIONS});"
        f"gate.fuse([('text', numpy.ones({DIMENSIONS}, numpy.float32))]);"
        "sys.exit('torch' in sys.modules)"
    )
    root = Path(__file__).resolve().parents[3]
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "gate.safetensors")], cwd=root, timeout=60
    )
    assert done.returncode == 0
