"""Running a vision tower: views of many pictures in shared batches, pooled vectors and patch tokens out.

Architectures differ in ``Look`` alone (what the network is called with and where its answers are); resizing is a
``ViewReader``'s, device and precision a ``Placement``'s.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from encoders.torch_device import Placement, Staged, padded_size
from encoders.types import EncodedImage, ImageLabel, ImageTokens, Pixels, Quality, Vector
from encoders.vision.preprocessing import SquareViews, ViewReader
from encoders.vision.tiles import Box, TilePlan, combine_vectors

if TYPE_CHECKING:
    import torch

__all__ = ["Labeller", "Look", "PreparedViews", "Seen", "VisionTower"]

# Views in one forward pass. On two cores larger passes are slower (the activations leave the cache); a GPU
# fills its multiprocessors with ViT-L/14 from about 128 views on.
_CPU_PASS, _GPU_PASS = 8, 128
# Of views larger than this fewer go into one, so that a pass does not outgrow the memory that was declared.
_PASS_VIEW_PIXELS = 384 * 384

Labels = tuple[ImageLabel, ...]
Labeller = Callable[[Vector, Vector | None], Sequence[Labels]]
"""Labels of pictures from their vectors ``(n, dimensions)`` and, with a classifier head, probabilities ``(n,
k)``.
"""


@dataclass(frozen=True, slots=True)
class Seen:
    """A forward pass over ``n`` views, on the device: ``pooled`` ``(n, dimensions)``, ``tokens``
    ``(n, patches, width)`` without a class token, and class logits ``(n, k)`` where the network has a classifier.
    """

    pooled: torch.Tensor
    tokens: torch.Tensor
    logits: torch.Tensor | None = None


Look = Callable[..., Seen]
"""The network, called with what ``ViewReader.arguments`` gives."""


@dataclass(frozen=True, slots=True)
class PreparedViews:
    """One picture ready to run: its views' 8-bit pixels on their way to the device."""

    staged: Staged
    boxes: tuple[Box, ...]
    shapes: NDArray[np.int64] | None
    width: int
    height: int

    @property
    def views(self) -> int:
        """How many views there are."""
        return int(self.staged.tensor.shape[0])


class VisionTower:
    """A loaded vision tower: a ``VisionEncoder`` and a ``TokenEncoder``. Thread-safe; ``at`` shares the weights."""

    def __init__(
        self,
        look: Look,
        reader: ViewReader,
        placement: Placement,
        quality: Quality = Quality.FAST,
        labeller: Labeller | None = None,
    ) -> None:
        self.quality = quality
        self._look = placement.compile(look)
        self._reader = reader
        self._placement = placement
        self._labeller = labeller
        self._pass = _GPU_PASS if placement.on_gpu else _CPU_PASS
        # CUDA graphs belong to the thread that captured them and have one set of buffers: one thread replays them
        # all. Without graphs the network may run in several threads.
        self._alone = ThreadPoolExecutor(1, "cuda-graphs") if placement.compiled else None

    @property
    def takes_tiles(self) -> bool:
        """Whether it can look at tiles of a picture."""
        return isinstance(self._reader, SquareViews)

    def at(self, quality: Quality) -> VisionTower:
        """This tower at ``quality``, with the same weights (and captured graphs)."""
        if quality is self.quality:
            return self
        other = object.__new__(VisionTower)
        other.__dict__.update(self.__dict__)
        other.quality = quality
        return other

    def label_with(self, labeller: Labeller) -> None:
        """Set what gives pictures their labels: for joint models, known only once label texts are embedded."""
        self._labeller = labeller

    def warm_up(self) -> None:
        """Run once at each quality that is asked for (videos are always looked at fast); where passes are captured
        as graphs, once for every batch size, so that no request waits for a capture.
        """
        sizes = [1]
        while self._placement.compiled and sizes[-1] < self._pass:
            sizes.append(padded_size(sizes[-1] + 1, self._pass))
        picture = np.zeros((64, 64, 3), dtype=np.uint8)
        for quality in dict.fromkeys((self.quality, Quality.FAST)):
            tower = self.at(quality)
            for size in sizes:
                tower.run(tower.prepare([picture] * size))

    def encode(self, images: Sequence[Pixels], quality: Quality | None = None) -> tuple[EncodedImage, ...]:
        """Labels and embeddings of RGB pictures ``(height, width, 3)`` of any sizes, order kept."""
        tower = self if quality is None else self.at(quality)
        encoded: list[EncodedImage] = []
        for start in range(0, len(images), self._pass):
            encoded += tower.run(tower.prepare(images[start : start + self._pass]))
        return tuple(encoded)

    def tokens(self, images: Sequence[Pixels], tiles: TilePlan | None = None) -> tuple[ImageTokens, ...]:
        """Patch tokens of each picture: of the whole, and with ``tiles`` of its tiles too."""
        # A best quality would add views that nobody asked for here.
        tiles = tiles or TilePlan(max_tiles=0)
        prepared = [self._prepare(image, tiles) for image in images]
        chosen: dict[Hashable, list[int]] = {}
        for index, one in enumerate(prepared):
            chosen.setdefault(self.bucket(one), []).append(index)
        found: dict[int, ImageTokens] = {}
        for indices in chosen.values():
            batch = [prepared[index] for index in indices]
            tokens = np.concatenate([seen.tokens.float().cpu().numpy() for seen in self._passes(batch)])
            parts = np.split(tokens, np.cumsum([one.views for one in batch])[:-1])
            for index, one, part in zip(indices, batch, parts, strict=True):
                if one.shapes is not None:  # one view, padded to its budget
                    part = part[:, : int(one.shapes[0].prod())]
                # Copied, so that one picture's tokens do not hold all in memory.
                found[index] = ImageTokens(part.copy(), one.boxes)
        return tuple(found[index] for index in range(len(images)))

    def prepare(self, items: Sequence[Pixels]) -> list[PreparedViews]:
        """Resize to the tower's input and start moving the bytes to the device."""
        return [self._prepare(item, None) for item in items]

    def bucket(self, prepared: PreparedViews) -> Hashable:
        """The shape of a view."""
        return tuple(prepared.staged.tensor.shape[1:])

    def cost(self, prepared: PreparedViews) -> int:
        """Pixels of all views."""
        return int(prepared.staged.tensor.numel()) // 3

    def run(self, batch: Sequence[PreparedViews]) -> list[EncodedImage]:
        """Labels and embeddings of prepared pictures of one bucket; the views of all share batches."""
        if not batch:
            return []
        pooled, chances = [], []
        for seen in self._passes(batch):
            pooled.append(seen.pooled.float().cpu().numpy())
            if seen.logits is not None:
                chances.append(seen.logits.float().softmax(-1).cpu().numpy())
        vectors = _unit(np.concatenate(pooled))
        ends = np.cumsum([one.views for one in batch])[:-1]
        combined = np.stack([combine_vectors(views) for views in np.split(vectors, ends)])
        mean_chances = None
        if chances:
            parts = np.split(np.concatenate(chances), ends)
            mean_chances = np.stack([views.mean(axis=0) for views in parts])
        labels = self._labels(combined, mean_chances)
        return [
            EncodedImage(named, vector, one.width, one.height)
            for named, vector, one in zip(labels, combined, batch, strict=True)
        ]

    def _labels(self, vectors: Vector, chances: Vector | None) -> Sequence[Labels]:
        if self._labeller is None:
            return [()] * len(vectors)
        return self._labeller(vectors, chances)

    def _prepare(self, image: Pixels, tiles: TilePlan | None) -> PreparedViews:
        views = self._reader.read(image, self.quality, tiles)
        height, width = image.shape[:2]
        return PreparedViews(self._placement.stage(views.pixels), views.boxes, views.shapes, width, height)

    def _passes(self, batch: Sequence[PreparedViews]) -> Iterator[Seen]:
        """The network over all views of a batch, a bounded number at a time."""
        pixels = self._placement.land([one.staged for one in batch])
        view_pixels = pixels[0].numel() // 3
        most = max(1, min(self._pass, self._pass * _PASS_VIEW_PIXELS // view_pixels))
        known = [one.shapes for one in batch if one.shapes is not None]
        shapes = np.concatenate(known) if known else None
        for start in range(0, len(pixels), most):
            part = pixels[start : start + most]
            part_shapes = None if shapes is None else shapes[start : start + most]
            if self._alone is None:
                yield self._forward(part, part_shapes)
            else:
                yield self._alone.submit(self._replay, part, part_shapes, most).result()

    def _forward(self, pixels: torch.Tensor, shapes: NDArray[np.int64] | None) -> Seen:
        import torch

        with torch.inference_mode():
            seen: Seen = self._look(**self._reader.arguments(pixels, shapes, self._placement.torch_dtype))
            return seen

    def _replay(self, pixels: torch.Tensor, shapes: NDArray[np.int64] | None, most: int) -> Seen:
        """The compiled network, on one of the few batch sizes that are captured."""
        import torch

        count = len(pixels)
        missing = padded_size(count, most) - count
        if missing:
            pixels = torch.cat([pixels, pixels[-1:].expand(missing, *pixels.shape[1:])])
            shapes = (
                None if shapes is None else np.concatenate([shapes, np.repeat(shapes[-1:], missing, axis=0)])
            )
        seen = self._forward(pixels, shapes)
        logits = None if seen.logits is None else seen.logits[:count].clone()
        # Copied here: the next replay writes into the same buffers.
        return Seen(seen.pooled[:count].clone(), seen.tokens[:count].clone(), logits)


def _unit(vectors: Vector) -> Vector:
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.maximum(norms, 1e-12), dtype=np.float32)
