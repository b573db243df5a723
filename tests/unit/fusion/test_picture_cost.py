"""What pictures take of the prompts of families of decoders that look themselves."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from fusion.picture_cost import picture_cost


def folder(path: Path, config: dict[str, Any], processing: dict[str, Any] | None = None) -> Path:
    (path / "config.json").write_text(json.dumps(config))
    if processing is not None:
        (path / "preprocessor_config.json").write_text(json.dumps(processing))
    return path


INTERNVL = {"model_type": "internvl", "vision_config": {"image_size": [448, 448], "patch_size": [14, 14]}}

FAMILIES: list[Any] = [
    ({"model_type": "blip-2", "num_query_tokens": 32}, None, (640, 480, 1024), 32),
    (
        {"model_type": "llava", "vision_config": {"image_size": 336, "patch_size": 14}},
        None,
        (9, 9, 1024),
        577,
    ),
    # https://huggingface.co/Qwen/Qwen2.5-VL-3B-Instruct: one token for 28 x 28 pixels, between two more
    ({"model_type": "qwen2_5_vl", "vision_config": {"patch_size": 14}}, None, (560, 280, 1024), 2 + 20 * 10),
    ({"model_type": "qwen2_5_vl", "vision_config": {"patch_size": 14}}, None, (5600, 2800, 560), 2 + 20 * 10),
    ({"model_type": "qwen3_vl", "vision_config": {"patch_size": 16}}, None, (320, 320, 1024), 2 + 10 * 10),
    # https://huggingface.co/HuggingFaceTB/SmolVLM-256M-Instruct: 64 tokens a tile of 512, enlarged to 2048
    (
        {"model_type": "idefics3", "vision_config": {"image_size": 512, "patch_size": 16}, "scale_factor": 4},
        {"size": {"longest_edge": 2048}},
        (640, 480, 1024),
        72 + 72 * 4 * 3,
    ),
    # Qwen3-VL enlarges what has fewer than 256 x 256 pixels
    (
        {"model_type": "qwen3_vl", "vision_config": {"patch_size": 16}},
        {"size": {"shortest_edge": 65536}},
        (16, 16, 1024),
        2 + 64,
    ),
    ({"model_type": "qwen2_vl", "vision_config": {"patch_size": 14}}, None, (9, 9, 1024), 2 + 4),
    # InternVL stretches pictures over 448 x 448 tiles of their shape: 4:3 is always twelve, and the whole
    (INTERNVL, None, (448, 448, 1024), 258 + 256),
    (INTERNVL, None, (900, 900, 1024), 258 + 4 * 256),
    (INTERNVL, None, (640, 480, 1024), 258 + 12 * 256),
    (INTERNVL, None, (300, 100, 1024), 258 + 3 * 256),
    (INTERNVL, {"max_patches": 6}, (640, 480, 1024), 258 + 6 * 256),
    ({**INTERNVL, "max_dynamic_patch": 2}, None, (1600, 1200, 2048), 258 + 256),
]


@pytest.mark.parametrize(("config", "processing", "shown", "tokens"), FAMILIES)
def test_families(
    config: dict[str, Any], processing: Any, shown: tuple[int, int, int], tokens: int, tmp_path: Path
) -> None:
    cost = picture_cost(folder(tmp_path, config, processing))
    assert cost is not None
    assert cost.tokens(*shown) == tokens


def test_two_frames_of_a_film_share_tokens_where_the_model_joins_them(tmp_path: Path) -> None:
    vision = {"patch_size": 14, "temporal_patch_size": 2}
    cost = picture_cost(folder(tmp_path, {"model_type": "qwen2_vl", "vision_config": vision}))
    assert cost is not None
    assert cost.frames_together == 2


def test_frames_of_a_film_are_told_when_they_are_and_never_stretched(tmp_path: Path) -> None:
    internvl = picture_cost(folder(tmp_path, INTERNVL))
    assert internvl is not None
    assert internvl.film_tokens(640, 480, 512) == 258 + 10
    qwen3 = picture_cost(folder(tmp_path, {"model_type": "qwen3_vl", "vision_config": {"patch_size": 16}}))
    assert qwen3 is not None
    assert qwen3.film_tokens(320, 320, 1024) == qwen3.tokens(320, 320, 1024) + 10


@pytest.mark.parametrize(
    "config",
    [
        {"model_type": "llama"},
        {},
        {"model_type": "llava"},
        {"model_type": "llava", "vision_config": {"patch_size": 0}},
        {"model_type": "llava", "vision_config": None},
    ],
)
def test_others_are_not_guessed(config: dict[str, Any], tmp_path: Path) -> None:
    assert picture_cost(folder(tmp_path, config)) is None


def test_a_folder_without_settings_is_not_guessed(tmp_path: Path) -> None:
    assert picture_cost(tmp_path) is None
    (tmp_path / "config.json").write_text("[1")
    assert picture_cost(tmp_path) is None
