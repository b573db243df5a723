"""Patch tokens for a bridge: of the whole picture and tiles, in one queue, at one quality whatever is set."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from tiny_models import photo, tiny_clip, tiny_siglip2_naflex

from encoders import registry
from encoders.config import EncoderConfig
from encoders.errors import ModelUnavailable
from encoders.types import Quality
from encoders.vision.encoder import vision_of
from encoders.vision.token_sights import TokenSight, TokenSightEncoder

MAKERS = {"clip": tiny_clip, "siglip2": tiny_siglip2_naflex}


@pytest.fixture(scope="module", params=MAKERS)
def models(request: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Any]:
    """One model loaded at both qualities."""
    folder = tmp_path_factory.mktemp("models")
    MAKERS[request.param](folder / request.param)
    fast, best = (
        registry.load(request.param, EncoderConfig(folder, quality=quality))
        for quality in (Quality.FAST, Quality.BEST)
    )
    return fast, best


def test_tokens_do_not_depend_on_the_quality_that_is_set(models: tuple[Any, Any]) -> None:
    """Bridges are trained on those of fast, and the key of kept soft tokens knows no quality."""
    sights = [TokenSight(photo(150, 90, seed), 1) for seed in range(3)]
    fast, best = (TokenSightEncoder(model) for model in models)
    for one, other in zip(fast.run(fast.prepare(sights)), best.run(best.prepare(sights)), strict=True):
        np.testing.assert_allclose(one.tokens, other.tokens, atol=1e-5)


def test_pictures_of_one_bucket_are_answered_as_each_alone(models: tuple[Any, Any]) -> None:
    encoder, tower = TokenSightEncoder(models[0]), vision_of(models[0])
    sights = [TokenSight(photo(80 + 60 * seed, 60, seed), 3) for seed in range(4)]
    assert {encoder.bucket(one) for one in sights} == {3 if tower.takes_tiles else 1}
    assert encoder.bucket(TokenSight(sights[0].pixels, 1)) == 1
    together = encoder.run(encoder.prepare(sights))
    for sight, tokens in zip(sights, together, strict=True):
        assert len(tokens.tokens) == len(tokens.boxes) + 1 <= encoder.cost(sight)
        (alone,) = encoder.run([sight])
        assert alone.boxes == tokens.boxes
        np.testing.assert_allclose(alone.tokens, tokens.tokens, atol=1e-5)
        (whole,) = encoder.run([TokenSight(sight.pixels, 1)])
        np.testing.assert_allclose(whole.tokens[0], tokens.tokens[0], atol=1e-5)
    assert any(len(tokens.tokens) > 1 for tokens in together) == tower.takes_tiles
    assert encoder.run([]) == []


def test_a_model_without_patch_tokens_is_refused() -> None:
    with pytest.raises(ModelUnavailable, match="choose a vision transformer"):
        TokenSightEncoder(object())
