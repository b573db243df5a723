"""Tokens of pictures: encoded once, kept as they are to float16's precision, and told apart by model and file."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from encoders.config import DecodeLimits
from encoders.decoding.sandbox import MediaDecoder
from encoders.types import ImageTokens, Pixels
from encoders.vision.tiles import TilePlan
from fusion.errors import TrainingRefused
from fusion.training.pairs import Pair
from fusion.training.picture_tokens import PictureTokens, encode_pairs


class FakeTokenEncoder:
    """Gives a picture's size and mean as its only token, and counts what it is shown."""

    takes_tiles = True

    def __init__(self) -> None:
        self.seen = 0

    def tokens(self, images: Sequence[Pixels], tiles: TilePlan | None = None) -> tuple[ImageTokens, ...]:
        self.seen += len(images)
        return tuple(
            ImageTokens(np.array([[[*image.shape[:2], image.mean()]]], np.float32), ((0, 0, 1, 1),))
            for image in images
        )


@pytest.fixture
async def decoder() -> AsyncIterator[MediaDecoder]:
    one = MediaDecoder(DecodeLimits())
    yield one
    await one.aclose()


def photos(folder: Path, number: int) -> tuple[Pair, ...]:
    made = []
    for index in range(number):
        path = folder / f"{index}.png"
        Image.new("RGB", (40 + index, 20), (index, 0, 0)).save(path)
        made.append(Pair(path, ("x",)))
    return tuple(made)


async def test_each_picture_is_encoded_once_as_the_platform_decodes_it(
    tmp_path: Path, decoder: MediaDecoder
) -> None:
    pairs = photos(tmp_path, 70)
    # Turned by a quarter, and larger than the model makes use of.
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (400, 200)).save(tmp_path / "turned.jpg", exif=exif)
    pairs = (*pairs, Pair(tmp_path / "turned.jpg", ("x",)))
    kept, encoder, told = PictureTokens(tmp_path / "tokens", "a"), FakeTokenEncoder(), []
    result = await encode_pairs(pairs, encoder, decoder, 120, kept, lambda done, of: told.append((done, of)))
    assert result is not None
    assert result.pairs == pairs
    assert result.refused == ()
    assert (told[0], told[-1]) == ((0, 71), (71, 71))
    assert [kept.load(pair.image)[0, 1] for pair in pairs[:70]] == [40 + index for index in range(70)]
    assert kept.load(pairs[70].image)[0, :2].tolist() == [120, 60]
    await encode_pairs(pairs, encoder, decoder, 120, kept)
    assert encoder.seen == 71


async def test_pictures_that_cannot_be_decoded_are_left_out_and_named(
    tmp_path: Path, decoder: MediaDecoder
) -> None:
    good = photos(tmp_path, 2)
    (tmp_path / "bad.jpg").write_bytes(b"no picture at all")
    bad = Pair(tmp_path / "bad.jpg", ("x",))
    kept = PictureTokens(tmp_path / "tokens", "a")
    result = await encode_pairs((good[0], bad, good[1]), FakeTokenEncoder(), decoder, 100, kept)
    assert result is not None
    assert result.pairs == good
    assert result.refused == (bad.image,)
    with pytest.raises(TrainingRefused, match="None of the 1 pictures"):
        await encode_pairs((bad,), FakeTokenEncoder(), decoder, 100, kept)


async def test_a_refusal_while_the_model_looks_is_its_own_sentence(
    tmp_path: Path, decoder: MediaDecoder
) -> None:
    class Broken(FakeTokenEncoder):
        def tokens(self, images: Sequence[Pixels], tiles: TilePlan | None = None) -> tuple[ImageTokens, ...]:
            return tuple(ImageTokens(one.tokens * np.nan, one.boxes) for one in super().tokens(images, tiles))

    kept = PictureTokens(tmp_path / "tokens", "a")
    for number in (1, 70):  # in the last pass, and in one before it
        with pytest.raises(TrainingRefused, match="no usable numbers"):
            await encode_pairs(photos(tmp_path, number), Broken(), decoder, 100, kept)


async def test_stopped_it_keeps_what_is_done(tmp_path: Path, decoder: MediaDecoder) -> None:
    pairs, encoder = photos(tmp_path, 70), FakeTokenEncoder()
    kept, asked = PictureTokens(tmp_path / "tokens", "a"), iter((False, True))
    assert await encode_pairs(pairs, encoder, decoder, 100, kept, stop=lambda: next(asked)) is None
    done = [pair for pair in pairs if kept.has(pair.image)]
    assert 0 < len(done) == encoder.seen < 70
    result = await encode_pairs(pairs, encoder, decoder, 100, kept)
    assert result is not None
    assert result.pairs == pairs
    assert encoder.seen == 70


def test_kept_numbers_are_float16s_unless_they_are_too_large(tmp_path: Path) -> None:
    (first, second) = (pair.image for pair in photos(tmp_path, 2))
    kept = PictureTokens(tmp_path / "tokens", "a")
    values = np.random.default_rng(0).normal(size=(4, 8)).astype(np.float32)
    kept.keep(first, values)
    kept.keep(second, values * 1e6)
    np.testing.assert_allclose(kept.load(first), values, rtol=6e-4, atol=1e-7)
    assert kept.load(first).dtype == np.float32
    np.testing.assert_array_equal(kept.load(second), values * np.float32(1e6))
    with pytest.raises(TrainingRefused, match="no usable numbers"):
        kept.keep(first, np.full((1, 2), np.nan, np.float32))


def test_another_model_and_a_changed_file_have_no_tokens_yet(tmp_path: Path) -> None:
    image = photos(tmp_path, 1)[0].image
    kept = PictureTokens(tmp_path / "tokens", "a")
    kept.keep(image, np.ones((1, 2), np.float32))
    assert kept.has(image)
    assert not PictureTokens(tmp_path / "tokens", "b").has(image)
    os.utime(image, ns=(1, 1))
    assert not kept.has(image)


def test_damaged_tokens_are_removed_so_that_the_next_start_makes_them_again(tmp_path: Path) -> None:
    image = photos(tmp_path, 1)[0].image
    kept = PictureTokens(tmp_path / "tokens", "a")
    kept.keep(image, np.ones((1, 2), np.float32))
    (path,) = (tmp_path / "tokens").rglob("*.safetensors")
    path.write_bytes(b"cut")
    with pytest.raises(TrainingRefused, match="start again"):
        kept.load(image)
    assert not kept.has(image)
    image.unlink()
    with pytest.raises(TrainingRefused, match="not there any more"):
        kept.load(image)
