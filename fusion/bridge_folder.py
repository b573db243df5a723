"""What a bridge is on disk: a folder the trainer writes, or a whole BLIP-2 checkpoint, which holds one too.

A bridge folder has two files. ``bridge.safetensors`` holds float32 tensors:

* ``query_tokens`` ``(1, queries, qformer width)``,
* ``qformer.*``: transformers' ``Blip2QFormerModel``,
* ``language_projection.weight`` ``(decoder width, qformer width)`` and ``.bias``,
* ``inputs.<branch>.weight`` ``(encoder_hidden_size, width)`` and ``.bias`` for each branch, where
  ``has_projections``,
* ``attention.*``: ``fusion.attention.CrossModalFusion``, where the manifest asks for it.

``bridge.json`` (``BridgeManifest``) says what they fit and has their SHA-256, so that a folder half written, or
with weights of another training, is never loaded. It is written last. Nothing here imports a model framework.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from encoders.errors import ModelUnavailable
from encoders.models.blip2 import DERIVED_FOLDERS, is_blip2
from encoders.types import ModelSpec
from encoders.weights import content_revision, sha256_of
from fusion.errors import BridgeUnavailable

if TYPE_CHECKING:
    import torch

__all__ = [
    "BRANCHES",
    "MANIFEST_NAME",
    "WEIGHTS_NAME",
    "Branch",
    "BridgeManifest",
    "bridge_revision",
    "check_fit",
    "embedding_width",
    "read_manifest",
    "write_bridge",
]

MANIFEST_NAME = "bridge.json"
WEIGHTS_NAME = "bridge.safetensors"
BRANCHES = ("vision", "speech", "text")
"""Names of what a bridge may take in."""
_FORMAT = 1


@dataclass(frozen=True, slots=True)
class Branch:
    """One kind of tokens that a bridge takes: the model they must come from, its revision, and their width."""

    model: str
    revision: str
    width: int


@dataclass(frozen=True, slots=True)
class BridgeManifest:
    """What a bridge fits and how it is built.

    ``decoder`` is the chat model's name, ``decoder_width`` the width of its token embeddings. ``branches`` has the
    encoders by ``vision``, ``speech`` or ``text``. ``qformer`` holds the settings of ``Blip2QFormerConfig``;
    sound is cut into stretches of ``speech_piece_seconds``, each of which becomes ``queries`` soft tokens, as a
    view or a frame does. ``weights_sha256`` is empty for a BLIP-2 checkpoint, whose weights have a revision of
    their own.
    """

    decoder: str
    decoder_width: int
    queries: int
    branches: Mapping[str, Branch]
    qformer: Mapping[str, Any] = field(default_factory=dict)
    speech_piece_seconds: float = 10.0
    attention: Mapping[str, int] | None = None
    weights_sha256: str = ""

    def __post_init__(self) -> None:
        """Raise ``ValueError`` for what could not be a bridge."""
        if not self.branches or not set(self.branches) <= set(BRANCHES):
            raise ValueError(f"a bridge has one or more of the branches {', '.join(BRANCHES)}")
        if min(self.decoder_width, self.queries, *(branch.width for branch in self.branches.values())) < 1:
            raise ValueError("widths and the number of queries are at least 1")
        if not 0.1 <= self.speech_piece_seconds <= 30:
            raise ValueError("speech_piece_seconds is from 0.1 to 30")
        if self.attention is not None and len(self.branches) < 2:
            raise ValueError("one branch has no other to attend to")

    @property
    def input_width(self) -> int:
        """Width of the tokens that the Q-Former itself attends to."""
        return int(self.qformer.get("encoder_hidden_size", 1408))

    @property
    def has_projections(self) -> bool:
        """Whether branches are projected to the Q-Former's width: not where one branch has that width anyway."""
        return len(self.branches) > 1 or any(
            branch.width != self.input_width for branch in self.branches.values()
        )


def read_manifest(folder: Path) -> BridgeManifest:
    """The manifest of a bridge folder, or that of the bridge in a BLIP-2 checkpoint; weights are not looked at.

    Raises ``BridgeUnavailable`` when the folder holds neither or cannot be read.
    """
    try:
        if (folder / MANIFEST_NAME).is_file():
            return _from_json(json.loads((folder / MANIFEST_NAME).read_text(encoding="utf-8")))
        facts = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise BridgeUnavailable(
            f"There is no bridge '{folder.name}': the folder of that name among the models has no "
            f"{MANIFEST_NAME}, and no BLIP-2 checkpoint lies in it. Train one with 'manymodal train-bridge', "
            "or name another."
        ) from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise BridgeUnavailable(
            f"The bridge '{folder.name}' cannot be read: its {MANIFEST_NAME} is damaged or of another version. "
            "Write it again with 'manymodal train-bridge'."
        ) from error
    if not isinstance(facts, dict) or not is_blip2(facts):
        raise BridgeUnavailable(
            f"The folder '{folder.name}' among the models is no bridge: it holds a checkpoint that is not BLIP-2."
        )
    return _of_blip2(folder, facts)


def bridge_revision(folder: Path, manifest: BridgeManifest | None = None) -> str:
    """Twelve hex digits that change when the bridge does: part of the key of everything made with it.

    Raises ``BridgeUnavailable`` like ``read_manifest``.
    """
    manifest = manifest or read_manifest(folder)
    if not manifest.weights_sha256:
        return content_revision(folder, DERIVED_FOLDERS)
    return hashlib.sha256(json.dumps(_to_json(manifest), sort_keys=True).encode()).hexdigest()[:12]


def check_fit(
    name: str, manifest: BridgeManifest, decoder: str, decoder_folder: Path, models: Mapping[str, ModelSpec]
) -> None:
    """Raise ``BridgeUnavailable`` unless the bridge ``name`` was made for this decoder and these encoders.

    ``models`` are the encoders that are served, by branch; a branch that none is served for is not asked for.
    """
    if manifest.decoder != decoder:
        raise BridgeUnavailable(
            f"The bridge '{name}' was made for the decoder '{manifest.decoder}', and '{decoder}' is served; its "
            "soft tokens would mean nothing there."
        )
    width = embedding_width(decoder_folder)
    if manifest.decoder_width != width:
        raise BridgeUnavailable(
            f"The bridge '{name}' gives embeddings of width {manifest.decoder_width}, and the decoder '{decoder}' "
            f"takes {width}: it has been replaced by another of the same name."
        )
    for branch, spec in models.items():
        wanted = manifest.branches.get(branch)
        if wanted is None:
            continue
        if wanted.model != spec.name:
            raise BridgeUnavailable(
                f"The bridge '{name}' was trained on tokens of '{wanted.model}', and '{spec.name}' is set to "
                "give them."
            )
        if wanted.revision != spec.revision:
            raise BridgeUnavailable(
                f"The bridge '{name}' was trained on other weights of '{spec.name}' than those that are here "
                f"(revision {wanted.revision}, not {spec.revision}). Train it again, or put the old weights back."
            )


def embedding_width(decoder_folder: Path) -> int:
    """The width of a decoder's token embeddings, from its ``config.json``. Raises ``BridgeUnavailable``."""
    try:
        facts = json.loads((decoder_folder / "config.json").read_text(encoding="utf-8"))
        facts = facts.get("text_config") or facts
        # OPT-350m's embeddings are narrower than its layers.
        return int(facts.get("word_embed_proj_dim") or facts["hidden_size"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise BridgeUnavailable(
            f"The decoder in '{decoder_folder.name}' has no readable config.json, so nothing can be bridged to it."
        ) from error


def write_bridge(
    folder: Path, manifest: BridgeManifest, tensors: Mapping[str, torch.Tensor]
) -> BridgeManifest:
    """Write a bridge into ``folder``, made if need be; an older bridge there is replaced. Gives the manifest as
    written, with the weights' SHA-256.

    Each file appears whole or not at all; between the two, readers refuse the folder. ``tensors`` are named as
    above.
    """
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".bridge.", dir=folder) as building:
        weights = Path(building) / WEIGHTS_NAME
        save_file({name: one.detach().float().cpu().contiguous() for name, one in tensors.items()}, weights)
        manifest = replace(manifest, weights_sha256=sha256_of(weights))
        listed = Path(building) / MANIFEST_NAME
        listed.write_text(json.dumps(_to_json(manifest), indent=1, sort_keys=True), encoding="utf-8")
        for path in (weights, listed):
            path.chmod(0o644)
            with path.open("rb") as file:
                os.fsync(file.fileno())
        for path in (weights, listed):
            path.replace(folder / path.name)
    return manifest


def _to_json(manifest: BridgeManifest) -> dict[str, Any]:
    return {"format": _FORMAT, **asdict(manifest)}


def _from_json(written: Mapping[str, Any]) -> BridgeManifest:
    """Raises ``ValueError``, ``KeyError`` or ``TypeError`` for anything but a manifest of this format."""
    facts = dict(written)
    if facts.pop("format") != _FORMAT:
        raise ValueError("a bridge.json of another format")
    facts["branches"] = {name: Branch(**branch) for name, branch in facts["branches"].items()}
    manifest = BridgeManifest(**facts)
    if not manifest.weights_sha256:
        raise ValueError("a bridge.json without the SHA-256 of its weights")
    return manifest


def _of_blip2(folder: Path, facts: Mapping[str, Any]) -> BridgeManifest:
    """The bridge in a BLIP-2 checkpoint: what its config leaves out is transformers' default."""
    vision, qformer, text = facts["vision_config"], facts["qformer_config"], facts["text_config"]
    width = int(vision.get("hidden_size", 1408))
    try:
        return BridgeManifest(
            decoder=folder.name,
            decoder_width=int(text["hidden_size"]),
            queries=int(facts.get("num_query_tokens", 32)),
            branches={"vision": Branch(folder.name, content_revision(folder, DERIVED_FOLDERS), width)},
            qformer={**qformer, "encoder_hidden_size": int(qformer.get("encoder_hidden_size", 1408))},
        )
    except (ValueError, KeyError, TypeError, OSError, ModelUnavailable) as error:
        raise BridgeUnavailable(
            f"The BLIP-2 checkpoint '{folder.name}' cannot be used as a bridge: its config.json makes no sense. "
            "Fetch it again."
        ) from error
