"""A whole training run: from names of models and a list of pairs to a bridge folder among the models."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from encoders import registry
from encoders.checkpoint import load_network, load_tokenizer, read_facts
from encoders.config import EncoderConfig
from encoders.decoding.sandbox import MediaDecoder
from encoders.models.blip2 import DECODER_FOLDER, is_blip2
from encoders.torch_device import Placement, placement
from encoders.types import ModelSpec
from encoders.vision.encoder import tokens_of
from encoders.weights import content_revision
from fusion.bridge_folder import MANIFEST_NAME, WEIGHTS_NAME, Branch, BridgeManifest, write_bridge
from fusion.errors import TrainingRefused
from fusion.training.beginning import new_bridge, qformer_settings
from fusion.training.checkpoints import Checkpoints
from fusion.training.config import RunFolder, TrainingConfig
from fusion.training.dialogue import Dialogue
from fusion.training.losses import HeldOut, Losses, StepLoss
from fusion.training.pairs import Pair, read_pairs, split
from fusion.training.picture_tokens import Encoded, PictureTokens, encode_pairs
from fusion.training.trainer import BridgeTrainer

__all__ = ["Outcome", "Reporter", "Wanted", "train_bridge"]

_SIDE_PIXELS = 768  # of models that do not say what they make use of: the platform's own figure


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is to be trained: the new bridge's ``name``, the frozen models beside it, and the list of pairs."""

    name: str
    vision: str
    decoder: str
    listing: Path
    images: Path | None = None


@dataclass(frozen=True, slots=True)
class Reporter:
    """Told how a run goes: pictures encoded of how many, every loss, and sentences."""

    on_encoded: Callable[[int, int], None] = lambda done, of: None
    on_entry: Callable[[StepLoss | HeldOut], None] = lambda entry: None
    say: Callable[[str], None] = lambda sentence: None


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a run ended: ``bridge`` is None when it was stopped before the last step, and ``step`` too when pictures
    were still being encoded. ``curve`` is None without matplotlib.
    """

    step: int | None
    pictures: int
    held_out: int
    refused: int
    bridge: Path | None
    curve: Path | None


def train_bridge(
    wanted: Wanted,
    config: TrainingConfig,
    encoders: EncoderConfig,
    folder: RunFolder,
    reporter: Reporter,
    stop: Callable[[], bool] = lambda: False,
    restart: bool = False,
) -> Outcome:
    """Train, from the last checkpoint in ``folder`` if there is one, and write the bridge when all steps are done.

    ``stop`` is asked after each step, and now and then while pictures are encoded: what is done is kept. Raises
    ``TrainingRefused`` for pairs, settings and folders that cannot be used, and ``ModelUnavailable``. Where it runs
    is ``encoders.device``: the Q-Former in float32, the frozen models in the device's precision.
    """
    try:
        return _train(wanted, config, encoders, folder, reporter, stop, restart)
    except OSError as error:
        raise TrainingRefused(
            f"The training cannot go on, because a file cannot be read or written: {error.strerror or 'unknown'}. "
            "When that is mended, the same command goes on from the last checkpoint."
        ) from error


def _train(
    wanted: Wanted,
    config: TrainingConfig,
    encoders: EncoderConfig,
    folder: RunFolder,
    reporter: Reporter,
    stop: Callable[[], bool],
    restart: bool,
) -> Outcome:
    target = encoders.models_dir / wanted.name
    _check_target(wanted.name, target)
    pairs = read_pairs(wanted.listing, wanted.images)
    checkpoints, losses = Checkpoints(folder.checkpoints, config.keep_checkpoints), Losses(folder.losses)

    spec = registry.find(wanted.vision, encoders.models_dir)
    kept = PictureTokens(folder.tokens, f"{spec.name}|{spec.revision}|{spec.preprocessing}")
    encoded = _encoded(spec, pairs, kept, encoders, reporter, stop)
    if encoded is None:
        return Outcome(None, len(pairs), 0, 0, None, None)
    pairs = encoded.pairs
    training, held_out = split(pairs, config.held_out, config.seed)
    width = kept.load(training[0].image).shape[1]

    place = placement(encoders.device, False, encoders.threads)
    decoder, tokenizer, decoder_revision = _load_decoder(encoders.models_dir, wanted.decoder, place)
    facts = {
        **config.facts(),
        "vision": [spec.name, spec.revision, spec.preprocessing],
        "decoder": [wanted.decoder, decoder_revision],
        "pairs": _digest(pairs),
    }
    bridge, manifest = _new_bridge(config, spec, width, wanted.decoder, decoder)
    dialogue = Dialogue(tokenizer, config.prompts, config.max_caption_tokens)
    trainer = BridgeTrainer(bridge, decoder, dialogue, kept, training, held_out, config, place.device)
    if restart:  # only now that nothing else can be refused: a slip of the hand must not cost a run
        checkpoints.clear()
    found = checkpoints.newest()
    if found is not None:
        _same_run(found.facts, facts)
        trainer.resume(found)
        reporter.say(f"Going on after step {found.step}.")
    losses.forget_after(trainer.step)
    finished = trainer.run(checkpoints, losses, facts, reporter.on_entry, stop)
    drawn = losses.draw(folder.curve, f"{wanted.name}: {wanted.vision} to {wanted.decoder}")
    if finished:
        write_bridge(target, manifest, dict(bridge.state_dict()))
    return Outcome(
        trainer.step,
        len(training),
        len(held_out),
        len(encoded.refused),
        target if finished else None,
        folder.curve if drawn else None,
    )


def _check_target(name: str, target: Path) -> None:
    """A training must not write over a model that somebody put there."""
    if not name or name != Path(name).name or name.startswith("."):
        raise TrainingRefused(f"'{name}' is no name for a bridge; it becomes the name of a folder.")
    if not target.exists() or (target / MANIFEST_NAME).is_file():
        return
    # A run that was killed while it wrote the bridge leaves weights without a description, or hidden files.
    if not target.is_dir() or any(
        path.name != WEIGHTS_NAME and not path.name.startswith(".") for path in target.iterdir()
    ):
        raise TrainingRefused(f"There is a model '{name}' that is no bridge; choose another name.")


def _encoded(
    spec: ModelSpec,
    pairs: tuple[Pair, ...],
    kept: PictureTokens,
    encoders: EncoderConfig,
    reporter: Reporter,
    stop: Callable[[], bool],
) -> Encoded | None:
    """Pairs with tokens; None when it was stopped. The encoder is loaded if there is work for it."""
    if all(kept.has(pair.image) for pair in pairs):
        return Encoded(pairs, ())
    if spec.task != "vision":
        raise TrainingRefused(f"The model '{spec.name}' is for {spec.task}; name one for vision.")
    encoder = tokens_of(registry.load(spec.name, encoders))
    if encoder is None:
        raise TrainingRefused(
            f"The vision model '{spec.name}' gives no patch tokens, which a bridge is made of; name a CLIP, "
            "SigLIP, ViT or BLIP-2 model."
        )
    side = int(spec.extra.get("side_pixels", _SIDE_PIXELS))

    async def encode() -> Encoded | None:
        decoder = MediaDecoder(encoders.limits, workers=encoders.decoder_processes)
        try:
            return await encode_pairs(pairs, encoder, decoder, side, kept, reporter.on_encoded, stop)
        finally:
            await decoder.aclose()

    encoded = asyncio.run(encode())
    if encoded is not None and encoded.refused:
        reporter.say(f"{len(encoded.refused)} of {len(pairs)} pictures cannot be decoded and are left out.")
    return encoded


def _load_decoder(models_dir: Path, name: str, place: Placement) -> tuple[Any, Any, str]:
    """The frozen causal language model, its tokenizer, and the revision of its files."""
    folder = models_dir / name
    if is_blip2(read_facts(folder)):
        folder = folder / DECODER_FOLDER
    decoder = load_network(folder, "AutoModelForCausalLM", place)
    return decoder, load_tokenizer(folder), content_revision(folder)


def _new_bridge(
    config: TrainingConfig, spec: ModelSpec, width: int, name: str, decoder: Any
) -> tuple[Any, BridgeManifest]:
    """A bridge with weights drawn by the seed, and what it fits."""
    embeddings = decoder.get_input_embeddings().weight
    manifest = BridgeManifest(
        decoder=name,
        decoder_width=int(embeddings.shape[1]),
        queries=config.shape.queries,
        branches={"vision": Branch(spec.name, spec.revision, width)},
        qformer=qformer_settings(config.shape, width, config.dropout),
    )
    return new_bridge(manifest, config.seed, float(embeddings.float().std())), manifest


def _same_run(begun: Any, now: Any) -> None:
    other = sorted(field for field in now if begun.get(field) != json.loads(json.dumps(now[field])))
    if other:
        raise TrainingRefused(
            f"This run was begun with another {', '.join(other)}. Give the same again to go on, another --name for "
            "another bridge, or --restart to begin anew."
        )


def _digest(pairs: Sequence[Pair]) -> str:
    """Of which pictures and captions, by name: where they lie may change."""
    listed = [(pair.image.name, pair.captions) for pair in pairs]
    return hashlib.sha256(json.dumps(listed).encode()).hexdigest()[:16]
