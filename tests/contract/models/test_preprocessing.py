"""The resize path is transformers' own, bit for bit, for any size of picture."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tiny_models import photo

from encoders.errors import ModelUnavailable
from encoders.types import Quality
from encoders.vision.preprocessing import PatchViews, SoftTokenViews, SquareViews, processor_facts
from encoders.vision.tiles import TilePlan

SIZES = [(1, 1), (3, 500), (500, 3), (224, 224), (225, 223), (640, 427), (100, 100), (37, 1000), (1333, 800)]


def _pil(image: np.ndarray) -> Image.Image:
    """As a picture: of an array of one by one pixel transformers would guess that its rows are channels."""
    return Image.fromarray(image)


def _theirs(name: str) -> Any:
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
    from transformers.models.siglip.image_processing_pil_siglip import SiglipImageProcessorPil
    from transformers.models.siglip2.image_processing_pil_siglip2 import Siglip2ImageProcessorPil
    from transformers.models.vit.image_processing_pil_vit import ViTImageProcessorPil

    return {
        "clip": CLIPImageProcessorPil,
        "siglip": SiglipImageProcessorPil,
        "vit": ViTImageProcessorPil,
        "siglip2": Siglip2ImageProcessorPil,
    }[name]()


def _facts(processor: Any, path: Path) -> dict[str, Any]:
    from encoders.models import clip, siglip, vit

    processor.save_pretrained(path)
    name = type(processor).__name__
    defaults = {
        "CLIPImageProcessorPil": clip._PROCESSOR,
        "SiglipImageProcessorPil": siglip._FIXED,
        "ViTImageProcessorPil": vit._PROCESSOR,
        "Siglip2ImageProcessorPil": siglip._NAFLEX,
    }[name]
    written = processor_facts(path, defaults)
    for key, value in defaults.items():  # our defaults are theirs
        assert written[key] == value or dict(written[key]) == value, key
    return written


@pytest.mark.parametrize("name", ["clip", "siglip", "vit"])
def test_fixed_sizes_are_the_same_to_the_bit(name: str, tmp_path: Path) -> None:
    import torch

    processor = _theirs(name)
    views = SquareViews(_facts(processor, tmp_path))
    for seed, (width, height) in enumerate(SIZES):
        image = photo(width, height, seed)
        read = views.read(image, Quality.FAST)
        raw = processor(_pil(image), do_rescale=False, do_normalize=False, return_tensors="np")[
            "pixel_values"
        ]
        np.testing.assert_array_equal(read.pixels.transpose(0, 3, 1, 2), raw)
        ours = views.arguments(torch.from_numpy(read.pixels), None, torch.float32)["pixel_values"]
        known = processor(_pil(image), return_tensors="np")["pixel_values"]
        np.testing.assert_allclose(ours.numpy(), known, atol=1e-5)


@pytest.mark.parametrize("quality", [Quality.FAST, Quality.BEST])
def test_patches_are_the_same(quality: Quality, tmp_path: Path) -> None:
    import torch

    processor = _theirs("siglip2")
    views = PatchViews(_facts(processor, tmp_path))
    budget = {Quality.FAST: 256, Quality.BEST: 1024}[quality]
    for seed, (width, height) in enumerate(SIZES):
        image = photo(width, height, seed)
        read = views.read(image, quality)
        ours = views.arguments(torch.from_numpy(read.pixels), read.shapes, torch.float32)
        known = processor(_pil(image), max_num_patches=budget, return_tensors="np")
        assert ours["spatial_shapes"].tolist() == known["spatial_shapes"].tolist()
        np.testing.assert_array_equal(ours["pixel_attention_mask"].numpy(), known["pixel_attention_mask"])
        np.testing.assert_allclose(ours["pixel_values"].numpy(), known["pixel_values"], atol=1e-5)


def test_soft_tokens_are_the_same() -> None:
    import torch
    from transformers.models.gemma4.image_processing_pil_gemma4 import Gemma4ImageProcessorPil

    from encoders.models.embedding_gemma import _PROCESSOR

    processor, views = Gemma4ImageProcessorPil(), SoftTokenViews(_PROCESSOR, [2, 5], 6, [7, 1], 0)
    for seed, (width, height) in enumerate(SIZES):
        image = photo(width, height, seed)
        read = views.read(image, Quality.FAST)
        ours = views.arguments(torch.from_numpy(read.pixels), read.shapes, torch.float32)
        known = processor(_pil(image), return_tensors="np")
        np.testing.assert_array_equal(ours["image_position_ids"].numpy(), known["image_position_ids"])
        np.testing.assert_allclose(ours["pixel_values"].numpy(), known["pixel_values"], atol=1e-5)
        count = int(known["num_soft_tokens_per_image"][0])
        ids = ours["input_ids"][0].tolist()
        assert ids == [2, 5, *[6] * count, 7, 1, *[0] * (280 - count)]
        assert int(ours["attention_mask"].sum()) == count + 4


def test_best_quality_adds_tiles_unless_they_are_planned_otherwise(tmp_path: Path) -> None:
    views = SquareViews(_facts(_theirs("clip"), tmp_path))
    image = photo(900, 600)
    assert len(views.read(image, Quality.FAST).pixels) == 1
    best = views.read(image, Quality.BEST)
    assert len(best.pixels) == 1 + len(best.boxes) == 7
    assert len(views.read(image, Quality.FAST, TilePlan(2)).pixels) == 3
    assert len(views.read(image, Quality.BEST, TilePlan(0)).pixels) == 1


def test_settings_of_other_years_are_read(tmp_path: Path) -> None:
    old = {"size": 48, "crop_size": 32, "do_center_crop": True, "resample": 3, "unknown": 1}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(old))
    defaults = {
        "size": {"shortest_edge": 224},
        "crop_size": 224,
        "do_center_crop": True,
        "do_resize": True,
        "resample": 2,
    }
    facts = processor_facts(tmp_path, defaults)
    assert "unknown" not in facts
    assert SquareViews(facts).read(photo(90, 60), Quality.FAST).pixels.shape == (1, 32, 32, 3)
    (tmp_path / "preprocessor_config.json").write_text("{")
    with pytest.raises(ModelUnavailable, match="cannot be read"):
        processor_facts(tmp_path, defaults)
    with pytest.raises(ModelUnavailable, match="size"):
        SquareViews({"size": {"longest_edge": 5}})


def test_pictures_come_large_enough_for_the_best_quality() -> None:
    """``side_pixels`` is what the decoder shrinks to: nothing may be enlarged again, or tiles not be cut."""
    from encoders.models import clip, embedding_gemma, siglip
    from encoders.vision.tiles import tile_boxes

    for spec in (*clip.SPECS, *siglip.SPECS):
        side = spec.extra["side_pixels"]
        for model_side in (224, 336, 384):
            if f"-{model_side}" in spec.name:
                assert len(tile_boxes(side, side * 2 // 3, TilePlan(), model_side)) == 6
    side = embedding_gemma.SPEC.extra["side_pixels"]
    views = SoftTokenViews(embedding_gemma._PROCESSOR, [], 1, [], 0)
    read = views.read(np.zeros((side * 9 // 16, side, 3), dtype=np.uint8), Quality.BEST)
    assert read.shapes is not None
    assert read.shapes.max() * 48 <= side
