"""The loop on a tiny decoder with random weights: what is learned, what stays frozen, and that a resumed run is the
run that was never interrupted.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_blip2 import tiny_blip2

from encoders.checkpoint import load_network, load_tokenizer
from encoders.torch_device import Placement
from fusion.bridge_folder import Branch, BridgeManifest
from fusion.errors import TrainingRefused
from fusion.training.beginning import new_bridge, qformer_settings
from fusion.training.checkpoints import Checkpoints
from fusion.training.config import BridgeShape, TrainingConfig
from fusion.training.dialogue import Dialogue
from fusion.training.losses import HeldOut, Losses, StepLoss
from fusion.training.pairs import Pair
from fusion.training.picture_tokens import PictureTokens
from fusion.training.trainer import BridgeTrainer

pytestmark = pytest.mark.timeout(600)

PATCHES, WIDTH = 5, 16
SMALL = TrainingConfig(
    steps=6,
    batch_size=4,
    warmup_steps=2,
    learning_rate=3e-3,
    held_out=0.0,
    checkpoint_every=2,
    prompts=("What is it?", "Who?"),
    shape=BridgeShape(queries=4, layers=1, width=32, heads=2),
)


@pytest.fixture(scope="module", params=["llama", "opt"])
def decoder(request: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Any]:
    folder = tiny_blip2(tmp_path_factory.mktemp("blip2"), request.param) / "decoder"
    return load_network(folder, "AutoModelForCausalLM", Placement("cpu", "float32")), load_tokenizer(folder)


@pytest.fixture
def pairs(tmp_path: Path) -> tuple[PictureTokens, tuple[Pair, ...]]:
    """Eight pictures of two kinds: their tokens differ, and so do their captions."""
    kept = PictureTokens(tmp_path / "tokens", "a model")
    random = np.random.default_rng(0)
    kinds = random.normal(size=(2, PATCHES, WIDTH))
    found = []
    for index in range(8):
        image = tmp_path / f"{index}.jpg"
        image.write_bytes(bytes([index]))
        kept.keep(image, (kinds[index % 2] + random.normal(size=(PATCHES, WIDTH)) * 0.1).astype(np.float32))
        caption = ("a dog in the photo", "two people speak")[index % 2]
        found.append(Pair(image, (caption, caption)))
    return kept, tuple(found)


Maker = Callable[[TrainingConfig], BridgeTrainer]


@pytest.fixture
def make(decoder: tuple[Any, Any], pairs: tuple[PictureTokens, tuple[Pair, ...]]) -> Maker:
    network, tokenizer = decoder
    kept, all_pairs = pairs

    def made(config: TrainingConfig) -> BridgeTrainer:
        manifest = BridgeManifest(
            "tiny",
            128,
            config.shape.queries,
            {"vision": Branch("a model", "1", WIDTH)},
            qformer_settings(config.shape, WIDTH, config.dropout),
        )
        bridge = new_bridge(manifest, config.seed, 0.2)
        dialogue = Dialogue(tokenizer, config.prompts, config.max_caption_tokens)
        return BridgeTrainer(bridge, network, dialogue, kept, all_pairs, all_pairs, config)

    return made


def finished(trainer: BridgeTrainer, folder: Path, **options: Any) -> dict[str, torch.Tensor]:
    done = trainer.run(Checkpoints(folder, 2), Losses(folder / "losses.jsonl"), {"run": "one"}, **options)
    assert done is ("stop" not in options)
    return dict(trainer.checkpoint({}).weights)


@pytest.mark.parametrize("stopped_after", [1, 2, 5])
def test_a_resumed_run_is_the_uninterrupted_one_bit_for_bit(
    make: Maker, tmp_path: Path, stopped_after: int
) -> None:
    whole = finished(make(SMALL), tmp_path / "whole")
    steps = count(1)
    finished(make(SMALL), tmp_path / "parts", stop=lambda: next(steps) == stopped_after)
    torch.rand(3)  # another state of torch's own random numbers
    second = make(SMALL)
    found = Checkpoints(tmp_path / "parts", 2).newest()
    assert found is not None
    assert found.step == stopped_after
    second.resume(found)
    parts = finished(second, tmp_path / "parts")
    assert whole.keys() == parts.keys()
    assert all(torch.equal(whole[name], parts[name]) for name in whole)
    entries = [Losses(tmp_path / name / "losses.jsonl").read() for name in ("whole", "parts")]
    assert entries[0] == entries[1]
    assert [type(entry) for entry in entries[0]].count(HeldOut) == 3


def test_only_the_bridge_learns_and_all_of_it_does(
    make: Maker, decoder: tuple[Any, Any], tmp_path: Path
) -> None:
    frozen = {name: value.clone() for name, value in decoder[0].state_dict().items()}
    trainer = make(SMALL)
    before = {name: value.clone() for name, value in trainer.checkpoint({}).weights.items()}
    after = finished(trainer, tmp_path)
    assert all(torch.equal(frozen[name], value) for name, value in decoder[0].state_dict().items())
    assert all(parameter.grad is None for parameter in decoder[0].parameters())
    unchanged = {name for name in before if torch.equal(before[name], after[name])}
    # A bias of keys moves all scores of a query alike, which softmax does not see.
    assert all(name.endswith("key.bias") for name in unchanged)


def test_the_bridge_comes_to_tell_pictures_apart(make: Maker, tmp_path: Path) -> None:
    config = dataclasses.replace(SMALL, steps=60, checkpoint_every=60, batch_size=8, dropout=0.0)
    seen: list[StepLoss | HeldOut] = []
    finished(make(config), tmp_path, on_entry=seen.append)
    losses = [entry.loss for entry in seen if isinstance(entry, StepLoss)]
    (held,) = [entry for entry in seen if isinstance(entry, HeldOut)]
    assert losses[-1] < losses[0] * 0.6
    # The pictures alternate, so the next one is of the other kind.
    assert held.held_out_loss < held.wrong_picture_loss - 0.5


def test_the_loss_is_transformers_own(make: Maker, decoder: tuple[Any, Any], pairs: Any) -> None:
    trainer = make(dataclasses.replace(SMALL, dropout=0.0))
    network, tokenizer = decoder
    dialogue = Dialogue(tokenizer, SMALL.prompts, 48)
    totals, tokens = 0.0, 0
    with torch.no_grad():
        for pair in pairs[1]:
            example = dialogue.example(0, pair.captions[0])
            soft = trainer._bridge.eval()({"vision": torch.from_numpy(pairs[0].load(pair.image))[None]})
            embed = network.get_input_embeddings()
            ids = [torch.tensor([part], dtype=torch.long) for part in dataclasses.astuple(example)]
            vectors = torch.cat([embed(ids[0]), soft, embed(ids[1]), embed(ids[2])], dim=1)
            labels = torch.cat([torch.full((1, vectors.shape[1] - ids[2].shape[1]), -100), ids[2]], dim=1)
            loss = network(inputs_embeds=vectors, labels=labels).loss
            totals += float(loss) * len(example.answer)
            tokens += len(example.answer)
    assert trainer.look_at_held_out().held_out_loss == pytest.approx(totals / tokens, rel=1e-5)


def test_micro_batches_change_nothing_but_memory(make: Maker, tmp_path: Path) -> None:
    config = dataclasses.replace(SMALL, dropout=0.0)
    whole = finished(make(config), tmp_path / "whole")
    parts = finished(make(dataclasses.replace(config, micro_batch=3)), tmp_path / "parts")
    for name, value in whole.items():
        if not name.endswith(
            "key.bias"
        ):  # their gradient is nothing but rounding, and AdamW makes steps of it
            torch.testing.assert_close(parts[name], value, rtol=1e-3, atol=1e-4)


def test_a_loss_that_is_no_number_ends_the_run(make: Maker, tmp_path: Path) -> None:
    trainer = make(SMALL)
    with torch.no_grad():
        trainer._bridge.language_projection.bias.fill_(float("nan"))
    with pytest.raises(TrainingRefused, match="At step 1 the loss"):
        finished(trainer, tmp_path)
    assert Checkpoints(tmp_path, 2).newest() is None


def test_a_checkpoint_of_another_shape_is_refused(make: Maker, tmp_path: Path) -> None:
    finished(make(SMALL), tmp_path)
    other = dataclasses.replace(SMALL, shape=BridgeShape(queries=5, layers=1, width=32, heads=2))
    found = Checkpoints(tmp_path, 2).newest()
    assert found is not None
    with pytest.raises(TrainingRefused, match="another shape"):
        make(other).resume(found)


def test_the_learning_rate_rises_and_falls(make: Maker) -> None:
    config = dataclasses.replace(SMALL, steps=100, warmup_steps=10, learning_rate=1.0)
    trainer = make(config)
    rates = [trainer.learning_rate(step) for step in range(100)]
    assert rates[:10] == pytest.approx([(step + 1) / 10 for step in range(10)])
    assert rates[10] == 1.0
    assert sorted(rates[10:], reverse=True) == rates[10:]
    assert 0.01 <= rates[-1] < 0.02
