"""The tower's own work, with a network of two lines: batches, views, padding for captured graphs."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from tiny_models import photo

from encoders.torch_device import Placement
from encoders.types import Quality
from encoders.vision import tower as vision_tower
from encoders.vision.preprocessing import SquareViews
from encoders.vision.tower import Seen, VisionTower

FACTS = {
    "do_resize": True, "size": {"height": 4, "width": 4}, "resample": 3, "do_rescale": True,
    "rescale_factor": 1 / 255, "do_normalize": False,
}  # fmt: skip


class CountingNetwork:
    """Gives the mean colour and the pixels as tokens, and notes its batch sizes."""

    def __init__(self) -> None:
        self.batches: list[int] = []

    def __call__(self, pixel_values: Any) -> Seen:
        self.batches.append(len(pixel_values))
        tokens = pixel_values.flatten(2).transpose(1, 2)
        return Seen(tokens.mean(1), tokens, tokens.sum(1))


class Replayed(Placement):
    """A placement that counts as compiled and compiles nothing."""

    def compile(self, function: Any) -> Any:
        return function


@pytest.mark.parametrize("compiled", [False, True])
def test_views_of_all_pictures_share_bounded_batches(compiled: bool) -> None:
    network = CountingNetwork()
    place = Replayed("cpu", "float32", compiled)
    tower = VisionTower(network, SquareViews(FACTS), place, Quality.BEST)
    images = [photo(12, 8, seed) for seed in range(3)]  # each itself and six tiles
    together = tower.run(tower.prepare(images))
    assert network.batches == ([8, 8, 8] if compiled else [8, 8, 5])
    for image, one in zip(images, together, strict=True):
        np.testing.assert_allclose(one.embedding, tower.encode([image])[0].embedding, atol=1e-6)
    fast = tower.encode(images, Quality.FAST)
    for image, one in zip(images, fast, strict=True):
        np.testing.assert_allclose(
            one.embedding, tower.at(Quality.FAST).encode([image])[0].embedding, atol=1e-6
        )


@pytest.mark.parametrize("compiled", [False, True])
def test_of_large_views_fewer_go_into_one_pass(compiled: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    network = CountingNetwork()
    place = Replayed("cpu", "float32", compiled)
    tower = VisionTower(network, SquareViews(FACTS), place)
    images = [photo(12, 8, seed) for seed in range(5)]
    whole = tower.encode(images)
    for most_pixels, sizes in ((8, [4, 1]), (4, [2, 2, 1]), (1, [1] * 5)):
        monkeypatch.setattr(vision_tower, "_PASS_VIEW_PIXELS", most_pixels)  # a view here has 16
        network.batches.clear()
        for one, other in zip(tower.run(tower.prepare(images)), whole, strict=True):
            np.testing.assert_allclose(one.embedding, other.embedding, atol=1e-6)
        assert network.batches == sizes


@pytest.mark.parametrize("compiled", [False, True])
def test_every_captured_size_is_captured_before_the_first_request(compiled: bool) -> None:
    network = CountingNetwork()
    tower = VisionTower(network, SquareViews(FACTS), Replayed("cpu", "float32", compiled), Quality.BEST)
    tower.warm_up()
    warmed = set(network.batches)
    assert warmed >= ({1, 2, 4, 8} if compiled else {1})
    for count in range(1, 12):
        tower.encode([photo(12, 8, seed) for seed in range(count)])
        tower.encode([photo(12, 8, seed) for seed in range(count)], Quality.FAST)
    assert not compiled or set(network.batches) == warmed


def test_labels_see_the_combined_vector_and_the_mean_of_the_views_probabilities() -> None:
    told: list[tuple[np.ndarray, np.ndarray]] = []

    def labeller(vectors: Any, chances: Any) -> Any:
        told.append((vectors, chances))
        return [()] * len(vectors)

    tower = VisionTower(CountingNetwork(), SquareViews(FACTS), Placement("cpu", "float32"), labeller=labeller)
    (one,) = tower.encode([photo(12, 8)], Quality.BEST)
    ((vectors, chances),) = told
    np.testing.assert_array_equal(vectors[0], one.embedding)
    assert chances.shape == (1, 3)
    assert chances.sum() == pytest.approx(1, abs=1e-6)


def test_a_quality_shares_everything_but_itself() -> None:
    tower = VisionTower(CountingNetwork(), SquareViews(FACTS), Placement("cpu", "float32"))
    assert tower.at(Quality.FAST) is tower
    best = tower.at(Quality.BEST)
    assert best.quality is Quality.BEST
    assert tower.quality is Quality.FAST
    assert best._look is tower._look
