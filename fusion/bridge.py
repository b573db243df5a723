"""A loaded bridge: encoders' tokens in, soft tokens of its decoder out, in batches of one shape.

The projection was learned for one decoder and the tokens of one encoder. What does not fit is refused before it
reaches the network: a wrong width would fail there with words of torch's own, a wrong model would not fail at all.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from encoders.checkpoint_parts import read_part, take_weights
from encoders.errors import ModelUnavailable
from encoders.torch_device import Placement, placement
from encoders.types import Vector
from encoders.weights import sha256_of
from fusion.bridge_folder import WEIGHTS_NAME, BridgeManifest, bridge_revision, read_manifest
from fusion.config import BridgeConfig
from fusion.errors import BridgeMismatch, BridgeUnavailable, ModalityNotBridged

if TYPE_CHECKING:
    import torch

    from fusion.qformer import QFormer

__all__ = ["BranchTokens", "LoadedBridge", "load_bridge"]

# Pieces in one forward pass.
_CPU_PASS, _GPU_PASS = 8, 64
_BLIP2_PARTS = ("qformer.", "language_projection.", "query_tokens")


@dataclass(frozen=True, slots=True, eq=False)
class BranchTokens:
    """Tokens of one medium, or of a part of it: ``tokens`` float32 ``(pieces, n, width)`` of the encoder of
    ``branch``.

    Of piece ``i`` only the first ``lengths[i]`` tokens are real; without ``lengths`` all are.
    """

    branch: str
    tokens: Vector
    lengths: tuple[int, ...] | None = None


class LoadedBridge:
    """A Q-Former on its device: a ``BatchEncoder[BranchTokens, BranchTokens, Vector]`` for the micro-batcher.

    It is given one branch at a time: a medium has one encoder, and its soft tokens stand where the medium stands.
    Whoever wants tokens of several branches in one pass calls the ``QFormer`` itself.
    """

    def __init__(
        self, network: QFormer, manifest: BridgeManifest, revision: str, place: Placement, name: str
    ) -> None:
        self.manifest = manifest
        self.revision = revision
        self._network = network
        self._place = place
        self._name = name
        self._pass = _GPU_PASS if place.on_gpu else _CPU_PASS

    def warm_up(self) -> None:
        """Run once for each branch."""
        for branch in self.manifest.branches:
            self.run(self.prepare([self.silence(branch)]))

    def silence(self, branch: str) -> BranchTokens:
        """One piece of one token, all zeros: what looks whether the bridge still answers."""
        return BranchTokens(branch, np.zeros((1, 1, self._width(branch)), np.float32))

    def prepare(self, items: Sequence[BranchTokens]) -> list[BranchTokens]:
        """The items, held against the manifest.

        Raises ``ModalityNotBridged`` for a branch that the bridge has not, ``BridgeMismatch`` for tokens that are
        not those of its encoder: of another width, no numbers, or none at all.
        """
        for item in items:
            width = self._width(item.branch)
            if item.tokens.ndim != 3 or item.tokens.shape[2] != width or not item.tokens.size:
                raise BridgeMismatch(
                    f"The bridge '{self._name}' takes tokens of width {width} from "
                    f"'{self.manifest.branches[item.branch].model}', and was given others: the encoders serve "
                    "another model than the bridge was made for."
                )
            pieces, length = item.tokens.shape[:2]
            if item.lengths is not None and (
                len(item.lengths) != pieces or not all(1 <= real <= length for real in item.lengths)
            ):
                raise BridgeMismatch("Each piece of a medium needs at least one real token.")
            if not np.isfinite(item.tokens).all():
                raise BridgeMismatch("An encoder's tokens are no numbers, so nothing can be made of them.")
        return list(items)

    def bucket(self, prepared: BranchTokens) -> Hashable:
        """Branch and tokens of a piece."""
        return prepared.branch, prepared.tokens.shape[1]

    def cost(self, prepared: BranchTokens) -> int:
        """Tokens of all pieces."""
        return int(prepared.tokens.shape[0] * prepared.tokens.shape[1])

    def run(self, batch: Sequence[BranchTokens]) -> list[Vector]:
        """Soft tokens, float32 ``(pieces, queries, decoder width)``, of prepared items of one bucket."""
        if not batch:
            return []
        branch, length = batch[0].branch, batch[0].tokens.shape[1]
        tokens = np.concatenate([item.tokens for item in batch])
        masks = None
        if any(item.lengths is not None for item in batch):
            real = np.concatenate(
                [
                    np.full(len(item.tokens), length) if item.lengths is None else np.array(item.lengths)
                    for item in batch
                ]
            )
            masks = np.arange(length) < real[:, None]
        soft = [
            self._forward(
                branch,
                tokens[start : start + self._pass],
                None if masks is None else masks[start : start + self._pass],
            )
            for start in range(0, len(tokens), self._pass)
        ]
        ends = np.cumsum([len(item.tokens) for item in batch])[:-1]
        # Copied, so that the answer to one medium does not hold the whole batch in memory.
        return [one.copy() for one in np.split(np.concatenate(soft), ends)]

    def _forward(self, branch: str, tokens: Vector, mask: np.ndarray | None) -> Vector:
        import torch

        with torch.inference_mode():
            given = self._place.to_device(torch.from_numpy(tokens))
            masks = None if mask is None else {branch: self._place.to_device(torch.from_numpy(mask))}
            soft: Vector = self._network({branch: given}, masks).float().cpu().numpy()
            return soft

    def _width(self, branch: str) -> int:
        found = self.manifest.branches.get(branch)
        if found is None:
            heard = {"vision": "look at pictures", "speech": "listen to sound", "text": "read text"}
            raise ModalityNotBridged(
                f"The model that answers cannot {heard.get(branch, 'take this medium')}."
            )
        return found.width


def load_bridge(config: BridgeConfig) -> LoadedBridge:
    """Load the bridge in ``config.folder`` and warm it up; the network is float32 on any device.

    Raises ``BridgeUnavailable`` when it is not there, not whole, has changed since ``config.revision`` was read,
    or was made for another decoder than ``config.decoder``.
    """
    from fusion.qformer import QFormer

    manifest = read_manifest(config.folder)
    revision = bridge_revision(config.folder, manifest)
    name = config.folder.name
    if manifest.decoder != config.decoder:
        raise BridgeUnavailable(
            f"The bridge '{name}' was made for the decoder '{manifest.decoder}', and '{config.decoder}' is served; "
            "its soft tokens would mean nothing there."
        )
    if config.revision not in ("", revision):
        raise BridgeUnavailable(
            f"The files of the bridge '{name}' have changed since the platform started; restart it."
        )
    place = placement(config.device, threads=config.threads)
    place = Placement(place.device, "float32")
    try:
        weights = _weights(config.folder, manifest)
        network = place.place(take_weights(partial(QFormer, manifest), weights, name))
    except ModelUnavailable as error:
        raise BridgeUnavailable(error.message) from error
    bridge = LoadedBridge(network, manifest, revision, place, name)
    bridge.warm_up()
    return bridge


def _weights(folder: Path, manifest: BridgeManifest) -> dict[str, torch.Tensor]:
    """All of the bridge's weights: a BLIP-2 checkpoint's parts, or a bridge's file if it is the manifest's."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    if not manifest.weights_sha256:
        return {
            part + key: tensor.float()
            for part in _BLIP2_PARTS
            for key, tensor in read_part(folder, part).items()
        }
    damaged = BridgeUnavailable(
        f"The weights of the bridge '{folder.name}' are damaged, or of another training than its description; "
        "write it again with 'manymodal train-bridge'."
    )
    path = folder / WEIGHTS_NAME
    try:
        if sha256_of(path) != manifest.weights_sha256:
            raise damaged
        return dict(load_file(path))
    except (OSError, SafetensorError) as error:
        raise damaged from error
