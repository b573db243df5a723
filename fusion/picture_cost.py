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


@dataclass(frozen=True, slots=True)
class PictureCost:
    """``fixed_tokens``, and ``square_tokens`` for each square of ``square_side`` pixels, also where it is not full.

    A picture whose longer side is under ``least_side`` is enlarged to it first. ``frames_together`` frames of a
    film take as many tokens as one picture.
    """

    fixed_tokens: int
    square_tokens: int = 0
    square_side: int = 1
    least_side: int = 0
    frames_together: int = 1

    def tokens(self, width: int, height: int, max_side: int) -> int:
        """Of a picture of so many pixels, shown with its longer side at most ``max_side`` pixels."""
        longer = max(width, height, 1)
        scale = max(min(longer, max_side), self.least_side) / longer
        across, down = (max(1, math.ceil(side * scale / self.square_side)) for side in (width, height))
        return self.fixed_tokens + self.square_tokens * across * down


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
    return PictureCost(2, 1, side, frames_together=together)  # between a start and an end token


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
    return PictureCost(tokens + 2, tokens, side)


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
