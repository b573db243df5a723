"""How many tokens a picture takes in the prompt of a decoder that looks itself, as far as its settings tell.

The decoder's own processor decides; what is known here of families of decoders serves to keep prompts within the
context, and is on the safe side.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["PictureCost", "picture_cost"]

_TIME_TOKENS = 10  # <1234.5 seconds>, or Frame12:
_LEAST_PIXELS = 4 * 28 * 28


@dataclass(frozen=True, slots=True)
class PictureCost:
    """``fixed_tokens``, and ``square_tokens`` for each square of ``square_side`` pixels, also where it is not full.

    A picture whose longer side is under ``least_side`` is enlarged to it first, and one of fewer than
    ``least_squares`` to these. With ``most_squares`` a picture is stretched over those up to so many that have its
    shape best, however small it is. ``frames_together`` frames of a film take as many tokens as one picture, and
    ``time_tokens`` more that say when they are.
    """

    fixed_tokens: int
    square_tokens: int = 0
    square_side: int = 1
    least_side: int = 0
    least_squares: int = 1
    most_squares: int = 0
    frames_together: int = 1
    time_tokens: int = 0

    def tokens(self, width: int, height: int, max_side: int) -> int:
        """Of a picture of so many pixels, shown with its longer side at most ``max_side`` pixels."""
        width, height = max(width, 1), max(height, 1)
        longer = max(width, height)
        scale = max(min(longer, max_side), self.least_side) / longer
        across, down = width * scale / self.square_side, height * scale / self.square_side
        if self.most_squares:
            squares = _stretched(width / height, across * down, self.most_squares)
        else:
            squares = max(self.least_squares, math.ceil(across) * math.ceil(down))
        return self.fixed_tokens + self.square_tokens * squares

    def film_tokens(self, width: int, height: int, max_side: int) -> int:
        """Of ``frames_together`` frames of a film; the last of it take them also where they are fewer."""
        # Frames are not stretched: each is one square, which for pictures is the small one of the whole.
        frame = self.fixed_tokens if self.most_squares else self.tokens(width, height, max_side)
        return frame + self.time_tokens


def _stretched(shape: float, area: float, most: int) -> int:
    """How many squares a picture is stretched over that is ``shape`` times as wide as high and ``area`` squares
    large: those of the shape nearest to its own, the more of one shape the larger it is.

    As in https://huggingface.co/OpenGVLab/InternVL2-4B, ``find_closest_aspect_ratio``.
    """
    grids = sorted(((i, j) for i in range(1, most + 1) for j in range(1, most // i + 1)), key=math.prod)
    best, nearest = (1, 1), math.inf
    for grid in grids:
        off = abs(shape - grid[0] / grid[1])
        if off < nearest or (off == nearest and area > 0.5 * math.prod(grid)):
            best, nearest = grid, off
    return math.prod(best)


def picture_cost(folder: Path) -> PictureCost | None:
    """That of the model in ``folder``; ``None`` when it is not of a family that is known here."""
    facts, processing = _read(folder / "config.json"), _read(folder / "preprocessor_config.json")
    family = _FAMILIES.get(str(facts.get("model_type")))
    try:
        return None if family is None else family(facts, processing)
    except (AttributeError, LookupError, TypeError, ValueError, ZeroDivisionError):
        return None


def _read(path: Path) -> Mapping[str, Any]:
    try:
        found = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _blip2(facts: Mapping[str, Any], processing: Mapping[str, Any]) -> PictureCost:
    return PictureCost(int(facts.get("num_query_tokens", 32)))


def _llava(facts: Mapping[str, Any], processing: Mapping[str, Any]) -> PictureCost:
    vision = facts["vision_config"]
    patches = (int(vision.get("image_size", 336)) // int(vision.get("patch_size", 14))) ** 2
    return PictureCost(patches + 1)  # with the class token where the model keeps it


def _qwen(facts: Mapping[str, Any], processing: Mapping[str, Any]) -> PictureCost:
    vision = facts["vision_config"]
    side = int(vision.get("patch_size", 14)) * int(vision.get("spatial_merge_size", 2))
    together = int(vision.get("temporal_patch_size", 2))
    # Both numbers are called sides and are areas.
    least = math.ceil(int((processing.get("size") or {}).get("shortest_edge") or _LEAST_PIXELS) / side**2)
    told = _TIME_TOKENS if str(facts.get("model_type")).startswith("qwen3") else 0
    # Between a start and an end token.
    return PictureCost(2, 1, side, least_squares=least, frames_together=together, time_tokens=told)


def _idefics3(facts: Mapping[str, Any], processing: Mapping[str, Any]) -> PictureCost:
    vision = facts["vision_config"]
    side = int(vision.get("image_size", 512))
    tokens = (side // int(vision.get("patch_size", 16)) // int(facts.get("scale_factor", 2))) ** 2
    longest = int((processing.get("size") or {}).get("longest_edge", 4 * side))
    tile = tokens + 8  # <fake_token_around_image><row_1_col_1> and line breaks
    return PictureCost(tile, tile, side, longest)


def _internvl(facts: Mapping[str, Any], processing: Mapping[str, Any]) -> PictureCost:
    vision = facts["vision_config"]
    side, patch = (
        one[0] if isinstance(one, list) else int(one) for one in (vision["image_size"], vision["patch_size"])
    )
    tokens = int((side // patch) ** 2 * float(facts.get("downsample_ratio", 0.5)) ** 2)
    most = int(facts.get("max_dynamic_patch") or processing.get("max_patches") or 12)
    # The whole picture as one small square more, which vLLM leaves away where there is only one.
    return PictureCost(tokens + 2, tokens, side, most_squares=most, time_tokens=_TIME_TOKENS)


_FAMILIES: Mapping[str, Callable[[Mapping[str, Any], Mapping[str, Any]], PictureCost]] = {
    "blip-2": _blip2,
    "llava": _llava,
    "qwen2_vl": _qwen,
    "qwen2_5_vl": _qwen,
    "qwen3_vl": _qwen,
    "qwen3_vl_moe": _qwen,
    "idefics3": _idefics3,
    "smolvlm": _idefics3,
    "internvl": _internvl,
    "internvl_chat": _internvl,
}
