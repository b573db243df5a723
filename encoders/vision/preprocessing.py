"""Pictures as a vision tower reads them: one pinned path of resize, crop and scale per checkpoint.

The rules come from the checkpoint's own ``preprocessor_config.json``. Resizing is Pillow's on 8-bit pixels,
which is what transformers' portable image processor does and what the published embeddings were made with;
tests hold the result against it bit for bit. Scaling to floats happens on the device, so that a batch travels
as bytes.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from encoders.errors import ModelUnavailable
from encoders.types import Pixels, Quality
from encoders.vision.tiles import Box, TilePlan, tile_boxes

if TYPE_CHECKING:
    import torch

__all__ = [
    "PatchViews",
    "SoftTokenViews",
    "SquareViews",
    "ViewReader",
    "Views",
    "cut_into_patches",
    "processor_facts",
]


@dataclass(frozen=True, slots=True)
class Views:
    """What the tower sees of one picture: 8-bit ``pixels`` with one entry per view, and the tiles' boxes.

    ``shapes`` holds rows and columns of patches per view, ``(views, 2)``, where views differ in shape.
    """

    pixels: NDArray[np.uint8]
    boxes: tuple[Box, ...] = ()
    shapes: NDArray[np.int64] | None = None


class ViewReader(Protocol):
    """A checkpoint's way from pictures to its tower's arguments."""

    def read(self, image: Pixels, quality: Quality, tiles: TilePlan | None = None) -> Views:
        """The views of one picture at a quality, or with tiles as planned. On CPU threads."""
        ...

    def arguments(
        self, pixels: torch.Tensor, shapes: NDArray[np.int64] | None, dtype: torch.dtype
    ) -> dict[str, torch.Tensor]:
        """The tower's keyword arguments for 8-bit pixels ``(views, ...)`` that lie on the device."""
        ...


def processor_facts(directory: Path, defaults: Mapping[str, Any]) -> dict[str, Any]:
    """The checkpoint's image processor settings over the family's ``defaults``.

    From ``preprocessor_config.json``, or the ``image_processor`` part of ``processor_config.json``
    (transformers 5). Raises ``ModelUnavailable`` when a file is there and cannot be read.
    """
    facts = dict(defaults)
    for name in ("processor_config.json", "preprocessor_config.json"):
        path = directory / name
        if not path.is_file():
            continue
        try:
            read = json.loads(path.read_text(encoding="utf-8"))
            read = read.get("image_processor", read) if name == "processor_config.json" else read
            facts.update({key: value for key, value in read.items() if key in facts and value is not None})
        except (OSError, ValueError, AttributeError):
            raise ModelUnavailable(
                f"The model's '{name}' cannot be read; fetch the checkpoint again."
            ) from None
    return facts


class SquareViews:
    """Views of one fixed size: CLIP, SigLIP, fixed-resolution SigLIP 2, ViT.

    ``Quality.FAST`` looks once at the whole picture, ``Quality.BEST`` also at tiles of it.
    """

    def __init__(self, facts: Mapping[str, Any], plan: TilePlan | None = None) -> None:
        self._facts = dict(facts)
        self._plan = plan or TilePlan()
        crop = facts.get("crop_size") if facts.get("do_center_crop") else None
        self._size = _size(facts["size"])
        self._crop = None if crop is None else _size(crop)
        height, width = self._crop or self._size
        if width is None:
            raise ModelUnavailable(
                "The model's preprocessor_config.json gives no fixed size to its pictures; this family needs one."
            )
        self.height, self.width = height, width

    def read(self, image: Pixels, quality: Quality, tiles: TilePlan | None = None) -> Views:
        """The whole picture and, at best quality or as planned, its tiles: uint8 ``(views, height, width, 3)``."""
        plan = self._plan if tiles is None and quality is Quality.BEST else tiles
        boxes = () if plan is None else tile_boxes(image.shape[1], image.shape[0], plan, self.height)
        seen = [self._view(image)]
        seen += [self._view(image[top:bottom, left:right]) for left, top, right, bottom in boxes]
        return Views(np.stack(seen), boxes)

    def _view(self, image: Pixels) -> Pixels:
        if self._facts["do_resize"]:
            height, width = self._size
            if width is None:
                height, width = _shortest_edge(image.shape[0], image.shape[1], height)
            image = _resized(image, height, width, self._facts["resample"])
        return image if self._crop is None else _centre(image, self.height, self.width)

    def arguments(
        self, pixels: torch.Tensor, shapes: NDArray[np.int64] | None, dtype: torch.dtype
    ) -> dict[str, torch.Tensor]:
        """``pixel_values`` ``(views, 3, height, width)``."""
        # (n, h, w, c) seen as (n, c, h, w) already is channels-last memory.
        return {"pixel_values": _scaled(pixels, self._facts).permute(0, 3, 1, 2).to(dtype)}


class PatchViews:
    """Views at the picture's own aspect ratio as patches up to a budget: SigLIP 2 NaFlex.

    ``Quality.BEST`` spends four times the patches on one view (1024 for the published models, the most they were
    trained with); such a tower needs no tiles, and asking for some raises ``ValueError``.
    """

    def __init__(self, facts: Mapping[str, Any], most_patches: int = 1024) -> None:
        self._facts = dict(facts)
        self._most_patches = most_patches

    def read(self, image: Pixels, quality: Quality, tiles: TilePlan | None = None) -> Views:
        """One view: uint8 ``(1, patches, patch bytes)``, padded to the budget."""
        if tiles is not None and tiles.max_tiles > 0:
            raise ValueError(
                "This model reads a picture at its own shape; ask for best quality instead of tiles."
            )
        side, budget = self._facts["patch_size"], self._facts["max_num_patches"]
        if quality is Quality.BEST:
            budget = max(budget, min(4 * budget, self._most_patches))
        height, width = _size_for_patches(image.shape[0], image.shape[1], side, budget)
        patches = cut_into_patches(_resized(image, height, width, self._facts["resample"]), side)
        padded = np.zeros((1, budget, patches.shape[1]), dtype=np.uint8)
        padded[0, : len(patches)] = patches
        return Views(padded, shapes=np.array([[height // side, width // side]]))

    def arguments(
        self, pixels: torch.Tensor, shapes: NDArray[np.int64] | None, dtype: torch.dtype
    ) -> dict[str, torch.Tensor]:
        """``pixel_values``, ``pixel_attention_mask`` and ``spatial_shapes``."""
        import torch

        if shapes is None:
            raise ValueError("Pictures of their own shape need their shapes.")
        rows_columns = torch.from_numpy(shapes).to(pixels.device)
        real = torch.arange(pixels.shape[1], device=pixels.device) < rows_columns.prod(1, keepdim=True)
        values = _scaled(pixels.unflatten(-1, (-1, 3)), self._facts).flatten(-2)
        return {
            "pixel_values": (values * real.unsqueeze(-1)).to(dtype),
            "pixel_attention_mask": real.to(torch.int32),
            "spatial_shapes": rows_columns,
        }


class SoftTokenViews:
    """Views at the picture's own aspect ratio for an encoder that reads pictures as soft tokens: EmbeddingGemma 2.

    A soft token is a square of patches. ``before`` and ``after`` are the token ids around a picture's soft tokens.
    ``Quality.BEST`` spends four times the soft tokens (1120 at most, as trained); tiles raise ``ValueError``.
    """

    def __init__(
        self, facts: Mapping[str, Any], before: Sequence[int], token: int, after: Sequence[int], pad: int
    ) -> None:
        self._facts = dict(facts)
        self._before, self._token, self._after, self._pad = list(before), token, list(after), pad
        self._edge: int = facts["pooling_kernel_size"]

    def read(self, image: Pixels, quality: Quality, tiles: TilePlan | None = None) -> Views:
        """One view: uint8 ``(1, patches, patch bytes)``, padded to the budget; its shape in soft tokens."""
        if tiles is not None and tiles.max_tiles > 0:
            raise ValueError(
                "This model reads a picture at its own shape; ask for best quality instead of tiles."
            )
        side, budget = self._facts["patch_size"], self._facts["max_soft_tokens"]
        if quality is Quality.BEST:
            budget = max(budget, min(4 * budget, 1120))
        step = side * self._edge
        height, width = _size_for_soft_tokens(image.shape[0], image.shape[1], step, budget)
        patches = cut_into_patches(_resized(image, height, width, self._facts["resample"]), side)
        padded = np.zeros((1, budget * self._edge**2, patches.shape[1]), dtype=np.uint8)
        padded[0, : len(patches)] = patches
        return Views(padded, shapes=np.array([[height // step, width // step]]))

    def arguments(
        self, pixels: torch.Tensor, shapes: NDArray[np.int64] | None, dtype: torch.dtype
    ) -> dict[str, torch.Tensor]:
        """Patches and their places, and the token ids that they are scattered into, padded to the budget."""
        import torch

        if shapes is None:
            raise ValueError("Pictures of their own shape need their shapes.")
        budget = pixels.shape[1] // self._edge**2
        places = np.full((len(shapes), pixels.shape[1], 2), -1, dtype=np.int64)
        length = len(self._before) + budget + len(self._after)
        ids = np.full((len(shapes), length), self._pad, dtype=np.int64)
        real = np.zeros((len(shapes), length), dtype=np.int64)
        for row, (rows, columns) in enumerate(shapes * self._edge):
            y, x = np.divmod(np.arange(rows * columns), columns)
            places[row, : rows * columns] = np.stack([x, y], axis=-1)
            one = [*self._before, *[self._token] * int(shapes[row].prod()), *self._after]
            ids[row, : len(one)], real[row, : len(one)] = one, 1
        values = _scaled(pixels.unflatten(-1, (-1, 3)), self._facts).flatten(-2)
        return {
            "pixel_values": values.to(dtype),
            "image_position_ids": torch.from_numpy(places).to(pixels.device),
            "input_ids": torch.from_numpy(ids).to(pixels.device),
            "attention_mask": torch.from_numpy(real).to(pixels.device),
        }


def cut_into_patches(image: Pixels, side: int) -> NDArray[np.uint8]:
    """A picture whose sides are multiples of ``side`` as ``(patches, side * side * 3)`` in reading order."""
    rows, columns = image.shape[0] // side, image.shape[1] // side
    cut = image.reshape(rows, side, columns, side, 3).transpose(0, 2, 1, 3, 4)
    return np.ascontiguousarray(cut.reshape(rows * columns, -1))


def _scaled(pixels: torch.Tensor, facts: Mapping[str, Any]) -> torch.Tensor:
    """8-bit pixels ``(..., 3)`` as the tower's floats, in float32 whatever the tower's precision."""
    import torch

    scaled = pixels.to(torch.float32)
    if facts["do_rescale"]:
        scaled = scaled * facts["rescale_factor"]
    if facts["do_normalize"]:
        mean = torch.tensor(facts["image_mean"], device=pixels.device)
        scaled = (scaled - mean) / torch.tensor(facts["image_std"], device=pixels.device)
    return scaled


def _size(size: Any) -> tuple[int, int | None]:
    """(height, width), or (shortest edge, None), as the configuration files of several years write it."""
    if isinstance(size, int):
        return size, size
    if "height" in size and "width" in size:
        return int(size["height"]), int(size["width"])
    if set(size) == {"shortest_edge"}:
        return int(size["shortest_edge"]), None
    raise ModelUnavailable(
        "The model's preprocessor_config.json gives a size that this platform does not know."
    )


def _shortest_edge(height: int, width: int, edge: int) -> tuple[int, int]:
    short, long = sorted((height, width))
    longer = int(edge * long / short)
    return (longer, edge) if width <= height else (edge, longer)


def _resized(image: Pixels, height: int, width: int, resample: int) -> Pixels:
    if image.shape[:2] == (height, width):
        return image
    from PIL import Image

    picture = Image.fromarray(np.ascontiguousarray(image))
    return np.asarray(picture.resize((width, height), Image.Resampling(resample)))


def _centre(image: Pixels, height: int, width: int) -> Pixels:
    """The middle ``height`` x ``width`` pixels, on black where the picture is smaller."""
    if image.shape[0] < height or image.shape[1] < width:
        down, right = max(height - image.shape[0], 0), max(width - image.shape[1], 0)
        image = np.pad(image, ((math.ceil(down / 2), down // 2), (math.ceil(right / 2), right // 2), (0, 0)))
    top, left = (image.shape[0] - height) // 2, (image.shape[1] - width) // 2
    return image[top : top + height, left : left + width]


def _size_for_patches(height: int, width: int, side: int, budget: int) -> tuple[int, int]:
    """The largest size of nearly the same shape, in whole patches, that fits the budget (Tschannen et al. 2025;
    the bisection and its bounds are SigLIP 2's, so that sizes are the same to the pixel).
    """

    def sides(scale: float) -> Sequence[int]:
        return [max(side, math.ceil(length * scale / side) * side) for length in (height, width)]

    low, high = 1e-6, 100.0
    while high - low >= 1e-5:
        middle = (low + high) / 2
        rows, columns = (length // side for length in sides(middle))
        low, high = (middle, high) if rows * columns <= budget else (low, middle)
    target_height, target_width = sides(low)
    return target_height, target_width


def _size_for_soft_tokens(height: int, width: int, step: int, budget: int) -> tuple[int, int]:
    """The largest size of nearly the same shape whose sides are multiples of ``step`` and that fits ``budget``
    squares of them; a line of squares for pictures thinner than that.
    """
    factor = math.sqrt(budget * step**2 / (height * width))
    rows, columns = math.floor(factor * height / step), math.floor(factor * width / step)
    if rows == 0:
        rows, columns = 1, min(width // height, budget)
    elif columns == 0:
        rows, columns = min(height // width, budget), 1
    return rows * step, columns * step
