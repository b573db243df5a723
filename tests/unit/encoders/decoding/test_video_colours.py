"""Colours of frames, and high dynamic range, held against the standards."""

from __future__ import annotations

import io
from pathlib import Path

import av
import numpy as np
import pytest
from av.video.reformatter import ColorRange, Colorspace

from encoders.config import DecodeLimits
from encoders.decoding.rgb import upright
from encoders.decoding.sniff import sniff
from encoders.decoding.tone import HLG, PQ, to_standard_range
from encoders.decoding.video import SampledFrame, sample_frames
from encoders.types import FrameSampling

LIMITS = DecodeLimits()


def sampled(data: bytes, sampling: FrameSampling) -> list[SampledFrame]:
    return [
        one
        for one in sample_frames(io.BytesIO(data), sniff(data), LIMITS, sampling)
        if isinstance(one, SampledFrame)
    ]


# -- colours ----------------------------------------------------------------------------------------------

_WEIGHTS = {
    Colorspace.ITU601: (0.299, 0.114),
    Colorspace.ITU709: (0.2126, 0.0722),
    Colorspace.BT2020: (0.2627, 0.0593),
}


def flat(code: tuple[int, int, int], matrix: Colorspace, limits: ColorRange) -> av.VideoFrame:
    frame = av.VideoFrame(64, 48, "yuv444p")
    for plane, value in zip(frame.planes, code, strict=True):
        plane.update(bytes([value]) * plane.buffer_size)
    frame.colorspace, frame.color_range = matrix, limits
    return frame


@pytest.mark.parametrize("matrix", [Colorspace.ITU601, Colorspace.ITU709, Colorspace.BT2020])
@pytest.mark.parametrize("limits", [ColorRange.MPEG, ColorRange.JPEG])
@pytest.mark.parametrize("code", [(120, 90, 180), (60, 128, 128), (180, 160, 110)])
def test_matrix_and_range(code: tuple[int, int, int], matrix: Colorspace, limits: ColorRange) -> None:
    red, blue = _WEIGHTS[matrix]
    if limits is ColorRange.MPEG:
        y, u, v = (code[0] - 16) / 219, (code[1] - 128) / 224, (code[2] - 128) / 224
    else:
        y, u, v = code[0] / 255, (code[1] - 128) / 255, (code[2] - 128) / 255
    r, b = y + 2 * (1 - red) * v, y + 2 * (1 - blue) * u
    g = (y - red * r - blue * b) / (1 - red - blue)
    expected = np.clip(np.array([r, g, b]) * 255, 0, 255)

    class Stream:
        sample_aspect_ratio = None

    picture = upright(flat(code, matrix, limits), Stream(), 64)
    np.testing.assert_allclose(picture.reshape(-1, 3).mean(0), expected, atol=2.5)


# -- high dynamic range -----------------------------------------------------------------------------------


def pq(nits: float) -> float:
    """SMPTE ST 2084, inverse EOTF."""
    m1, m2, c1, c2, c3 = 0.1593017578125, 78.84375, 0.8359375, 18.8515625, 18.6875
    power = (nits / 10000) ** m1
    return float(((c1 + c2 * power) / (1 + c3 * power)) ** m2)


def grey(code: float, transfer: int) -> int:
    picture = np.full((2, 2, 3), round(code * 65535), dtype=np.uint16)
    seen = to_standard_range(picture, transfer, wide=True)
    assert seen.shape == (2, 2, 3)
    assert seen.dtype == np.uint8
    assert int(seen.max()) - int(seen.min()) <= 1  # grey stays grey
    return int(seen[0, 0, 1])


def test_light_up_to_white_stays_and_highlights_are_bent() -> None:
    seen = [grey(pq(nits), PQ) for nits in (0.001, 10, 50, 100, 150, 203, 400, 1000, 4000, 10000)]
    assert seen == sorted(seen)
    assert seen[0] <= 2
    for nits, value in zip((10, 50, 100), seen[1:4], strict=True):
        assert value == pytest.approx(255 * (nits / 203) ** (1 / 2.4), abs=2)
    assert seen[3] < seen[4] < 222 <= seen[5] < seen[6] < seen[7] < seen[8] <= seen[9]
    assert seen[9] >= 253


def test_both_systems_agree_on_white() -> None:
    """BT.2408: diffuse white is 75 % of HLG and 58 % of PQ."""
    assert grey(0.75, HLG) == pytest.approx(grey(0.58, PQ), abs=2)
    assert grey(0.0, HLG) == 0
    assert grey(1.0, HLG) == pytest.approx(grey(pq(1000), PQ), abs=2)


@pytest.mark.parametrize("name", ["nasa_13013_hdr", "testsrc2_hdr", "testsrc2_12bit_hdr", "bt2020_10bit"])
def test_high_range_videos_are_as_bright_as_ordinary_ones(name: str, shared_data: Path) -> None:
    """These are ordinary pictures labelled PQ: shown as they are they would be right too."""
    path = shared_data / f"video/torchcodec/{name}.mp4"
    with av.open(str(path)) as container:
        frame = next(container.decode(video=0))
        assert frame.color_trc == PQ
        plain = frame.to_ndarray(format="rgb24").astype(float)
    seen = sampled(path.read_bytes(), FrameSampling("fps", 1, 0.01))[0].pixels.astype(float)
    assert seen.shape == plain.shape
    assert seen.mean() == pytest.approx(plain.mean(), rel=0.3)
    assert np.corrcoef(seen.ravel(), plain.ravel())[0, 1] > 0.9
    assert (seen >= 250).mean() < 0.5
