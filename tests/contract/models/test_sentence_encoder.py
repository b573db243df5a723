"""Sentence encoders against an independent computation by plain transformers, on checkpoints of random weights."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny_text_models import CORPUS, tiny_bert, tiny_decoder

from encoders import registry
from encoders.config import EncoderConfig
from encoders.errors import ModelUnavailable
from encoders.models import sentence_encoder
from encoders.text.sentence_layout import read_layout
from encoders.types import ModelSpec

pytestmark = pytest.mark.filterwarnings("ignore")  # transformers' own

TEXTS = (
    "a cat",
    "",
    "Two DOGS run along the beach; one of them is wet. " * 12,
    "people wait in front of an old station",
    "Ünïcödé, 漢字 and 🙂",
    *CORPUS,
)


def adopted(directory: Path) -> ModelSpec:
    facts = json.loads((directory / "config.json").read_text())
    spec = sentence_encoder.adopt(directory.name, directory, facts)
    assert spec is not None
    return spec


def opened(directory: Path) -> Any:
    return sentence_encoder.load(adopted(directory), EncoderConfig(directory.parent, device="cpu"))


def expected(
    directory: Path, pooling: str, texts: tuple[str, ...], limit: int
) -> tuple[np.ndarray, list[int]]:
    """One text at a time, without padding, by transformers' own tokeniser and network."""
    import torch
    from transformers import AutoModel, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(directory)
    network = AutoModel.from_pretrained(directory, attn_implementation="eager", dtype=torch.float32).eval()
    vectors, counts = [], []
    for text in texts:
        batch = tokenizer([text], truncation=True, max_length=limit, return_tensors="pt")
        with torch.inference_mode():
            hidden = network(batch["input_ids"], batch["attention_mask"]).last_hidden_state[0]
        pooled = {"mean": hidden.mean(0), "cls": hidden[0], "lasttoken": hidden[-1], "max": hidden.amax(0)}[
            pooling
        ]
        vectors.append((pooled / pooled.norm()).numpy())
        counts.append(batch["input_ids"].shape[1])
    return np.stack(vectors), counts


@pytest.mark.parametrize("pooling", ["mean", "cls", "lasttoken", "max"])
def test_bert_like_equals_transformers(tmp_path: Path, pooling: str) -> None:
    directory = tiny_bert(tmp_path / "bert", pooling)
    wanted, counts = expected(directory, pooling, TEXTS, 40)
    model = opened(directory)
    made = model.embed(TEXTS)
    np.testing.assert_allclose(made.vectors, wanted, atol=1e-5)
    assert list(made.token_counts) == counts
    assert max(counts) == 40  # cut, and counted as cut
    for size in (1, 2, 5):
        parts = [model.embed(TEXTS[start : start + size]).vectors for start in range(0, len(TEXTS), size)]
        np.testing.assert_allclose(np.concatenate(parts), wanted, atol=1e-5)


@pytest.mark.parametrize("padding_side", ["left", "right"])
@pytest.mark.parametrize("pooling", ["lasttoken", "mean"])
def test_decoders_equal_transformers(tmp_path: Path, pooling: str, padding_side: str) -> None:
    directory = tiny_decoder(tmp_path / "decoder", pooling, padding_side)
    wanted, counts = expected(directory, pooling, TEXTS, 64)
    made = opened(directory).embed(TEXTS)
    np.testing.assert_allclose(made.vectors, wanted, atol=1e-5)
    assert list(made.token_counts) == counts


def test_decoders_equal_transformers_own_left_padded_batch(tmp_path: Path) -> None:
    import torch
    from transformers import AutoModel, AutoTokenizer

    directory = tiny_decoder(tmp_path / "decoder")
    tokenizer = AutoTokenizer.from_pretrained(directory)
    assert tokenizer.padding_side == "left"
    batch = tokenizer(list(TEXTS), padding=True, truncation=True, max_length=64, return_tensors="pt")
    network = AutoModel.from_pretrained(directory, dtype=torch.float32).eval()
    with torch.inference_mode():
        last = network(batch["input_ids"], batch["attention_mask"]).last_hidden_state[:, -1].numpy()
    wanted = last / np.linalg.norm(last, axis=1, keepdims=True)
    np.testing.assert_allclose(opened(directory).embed(TEXTS).vectors, wanted, atol=1e-4)


def test_dense_layers(tmp_path: Path) -> None:
    from safetensors.numpy import load_file

    directory = tiny_bert(tmp_path / "dense", dense=8)
    pooled = expected(tiny_bert(tmp_path / "plain"), "mean", TEXTS, 40)[0]
    weights = load_file(directory / "2_Dense" / "model.safetensors")
    made = opened(directory).embed(TEXTS)
    assert made.vectors.shape == (len(TEXTS), adopted(directory).dimensions) == (len(TEXTS), 8)
    # The plain model's vectors are normalised, which the tanh notices: compute from the mean itself.
    lengths = _norms(tmp_path / "plain")
    wanted = np.tanh((pooled * lengths) @ weights["linear.weight"].T + weights["linear.bias"])
    wanted /= np.linalg.norm(wanted, axis=1, keepdims=True)
    np.testing.assert_allclose(made.vectors, wanted, atol=1e-5)


def _norms(directory: Path) -> np.ndarray:
    """Norms of the mean-pooled vectors before they are normalised."""
    import torch
    from transformers import AutoModel, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(directory)
    network = AutoModel.from_pretrained(directory, attn_implementation="eager", dtype=torch.float32).eval()
    with torch.inference_mode():
        norms = [
            network(**tokenizer([text], truncation=True, max_length=40, return_tensors="pt"))
            .last_hidden_state[0].mean(0).norm().item()
            for text in TEXTS
        ]  # fmt: skip
    return np.array(norms)[:, None]


def test_instructions(tmp_path: Path) -> None:
    prompts = {"query": "query: ", "passage": "find the passage "}
    directory = tiny_bert(tmp_path / "bert", prompts=prompts, default_prompt="query")
    model, bare = opened(directory), opened(tiny_bert(tmp_path / "bare"))
    for instruction, prefix in (
        (None, "query: "),
        ("query", "query: "),
        ("passage", "find the passage "),
        ("an old ", "an old "),
        ("", ""),
    ):
        wanted = bare.embed(tuple(prefix + text for text in TEXTS))
        made = model.embed(TEXTS, instruction=instruction)
        np.testing.assert_allclose(made.vectors, wanted.vectors, atol=1e-6)
        assert made.token_counts == wanted.token_counts
    batched = model.run(model.prepare(["a cat"]))[0].vector
    np.testing.assert_allclose(batched, bare.embed(("query: a cat",)).vectors[0], atol=1e-6)


def test_matryoshka(tmp_path: Path) -> None:
    directory = tiny_bert(tmp_path / "bert")
    model = opened(directory)
    with pytest.raises(ValueError, match="cannot be cut to 16"):
        model.embed(TEXTS, dimensions=16)
    facts = json.loads((directory / "config.json").read_text())
    (directory / "config.json").write_text(json.dumps({**facts, "matryoshka_dimensions": [8, 16, 32]}))
    model = opened(directory)
    full, cut = model.embed(TEXTS).vectors, model.embed(TEXTS, dimensions=16).vectors
    assert cut.shape == (len(TEXTS), 16)
    np.testing.assert_allclose(
        cut, full[:, :16] / np.linalg.norm(full[:, :16], axis=1, keepdims=True), atol=1e-6
    )
    with pytest.raises(ValueError, match="8 to 32"):
        model.embed(TEXTS, dimensions=4)


def test_batches_of_one_bucket(tmp_path: Path) -> None:
    model = opened(tiny_bert(tmp_path / "bert"))
    prepared = model.prepare(list(TEXTS))
    assert all(len(one.ids) <= model.bucket(one) == model.cost(one) <= 40 for one in prepared)
    wanted = model.embed(TEXTS)
    for bucket in {model.bucket(one) for one in prepared}:
        chosen = [index for index, one in enumerate(prepared) if model.bucket(one) == bucket]
        results = model.run([prepared[index] for index in chosen])
        np.testing.assert_allclose([one.vector for one in results], wanted.vectors[chosen], atol=1e-5)
    assert model.run([]) == []
    assert model.embed(()).vectors.shape == (0, 32)


def test_threads_share_a_model(tmp_path: Path) -> None:
    model = opened(tiny_bert(tmp_path / "bert"))
    wanted = [model.embed(TEXTS[index:]).vectors for index in range(4)]
    made: list[Any] = [None] * 4

    def work(index: int) -> None:
        for _ in range(10):
            made[index] = model.embed(TEXTS[index:]).vectors

    threads = [threading.Thread(target=work, args=(index,)) for index in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for ours, theirs in zip(made, wanted, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-6)


def test_the_registry_takes_a_users_folder(tmp_path: Path) -> None:
    tiny_bert(tmp_path / "mine", "cls", old_flags=False)
    spec = registry.find("mine", tmp_path)
    assert (spec.task, spec.dimensions) == ("text", 32)
    assert (spec.extra["pooling"], spec.extra["max_tokens"], spec.extra["space"]) == ("cls", 40, "mine")
    assert spec.memory_bytes > 0
    model: Any = registry.load("mine", EncoderConfig(tmp_path, device="cpu"))
    np.testing.assert_allclose(
        model.embed(TEXTS).vectors, expected(tmp_path / "mine", "cls", TEXTS, 40)[0], atol=1e-5
    )


def _edit(path: Path, change: Callable[[Any], Any]) -> None:
    path.write_text(json.dumps(change(json.loads(path.read_text()))))


def test_other_folders_are_not_adopted(tmp_path: Path) -> None:
    assert sentence_encoder.adopt("x", tmp_path, {"model_type": "bert", "hidden_size": 32}) is None


@pytest.mark.parametrize(
    ("name", "change", "match"),
    [
        ("modules.json", lambda modules: [modules[0], *modules[2:]], "no pooling"),
        ("modules.json", lambda modules: [*modules, {"type": "models.LSTM", "path": ""}], "a module"),
        ("modules.json", lambda modules: [{**modules[0], "path": "../other"}, *modules[1:]], "outside"),
        (
            "modules.json",
            lambda modules: [{"type": "models.CLIPModel", "path": ""}, *modules[1:]],
            "CLIPModel",
        ),
        ("1_Pooling/config.json", lambda _: {"pooling_mode": ["mean", "cls"]}, r"mean\+cls"),
        ("1_Pooling/config.json", lambda _: {"pooling_mode_weightedmean_tokens": True}, "weightedmean"),
        ("1_Pooling/config.json", lambda facts: {**facts, "include_prompt": False}, "prompt"),
        ("config.json", lambda facts: {**facts, "is_encoder_decoder": True}, "one stack"),
    ],
)
def test_what_cannot_be_followed_is_refused(
    tmp_path: Path, name: str, change: Callable[[Any], Any], match: str
) -> None:
    directory = tiny_bert(tmp_path / "bert")
    _edit(directory / name, change)
    with pytest.raises(ModelUnavailable, match=match):
        adopted(directory)


def test_missing_weights_are_refused(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    directory = tiny_bert(tmp_path / "bert")
    weights = load_file(directory / "model.safetensors")
    kept = {name: tensor for name, tensor in weights.items() if "layer.1." not in name}
    save_file(kept, directory / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelUnavailable, match="lacks weights"):
        opened(directory)


def test_lengths_not_stated_come_from_the_tokeniser_and_the_network(tmp_path: Path) -> None:
    directory = tiny_bert(tmp_path / "bert", max_tokens=None)
    assert adopted(directory).extra["max_tokens"] == 40
    layout = read_layout(directory)
    assert layout is not None
    assert layout.max_tokens is None


@pytest.mark.parametrize("spec", sentence_encoder.SPECS, ids=lambda spec: spec.name)
def test_listed_models_say_what_they_need(spec: ModelSpec) -> None:
    assert spec.hub_id
    assert spec.memory_bytes > 500 << 20
    assert spec.extra["pooling"] in {"mean", "cls", "lasttoken"}
    default = spec.extra.get("default_prompt")
    assert default is None or default in spec.extra["prompts"]
