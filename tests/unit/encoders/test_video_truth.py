"""Frames held against others' word: ffprobe's times, plain decoding's pictures, the standards' colours."""

from __future__ import annotations

import io
import json
import shutil
import subprocess
from functools import cache
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
from encoders.types import FrameSampling, SamplingMethod

LIMITS = DecodeLimits()
SUFFIXES = {".mp4", ".mov", ".mkv", ".webm", ".avi"}


def videos(shared_data: Path) -> list[Path]:
    found = [path for path in sorted((shared_data / "video").rglob("*")) if path.suffix in SUFFIXES]
    assert len(found) > 40
    return found


def sampled(data: bytes, sampling: FrameSampling) -> list[SampledFrame]:
    return [
        one
        for one in sample_frames(io.BytesIO(data), sniff(data), LIMITS, sampling)
        if isinstance(one, SampledFrame)
    ]


@cache
def true_times(path: Path) -> list[float]:
    """Frames' times from the beginning, by ffprobe; without it, by the packets alone."""
    if shutil.which("ffprobe"):
        asked = ("-select_streams", "v:0", "-show_entries", "format=start_time:packet=pts_time,flags")
        told = json.loads(
            subprocess.run(
                ["ffprobe", "-v", "error", *asked, "-of", "json", str(path)], capture_output=True, check=True
            ).stdout
        )
        start = float(told["format"].get("start_time", 0))
        packets = [one for one in told["packets"] if "pts_time" in one and "D" not in one["flags"]]
        return sorted(float(one["pts_time"]) - start for one in packets)
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        start = (container.start_time or 0) / av.time_base
        return sorted(
            float(packet.pts * stream.time_base) - start
            for packet in container.demux(stream)
            if packet.pts is not None and not packet.is_discard
        )


@pytest.mark.parametrize("method", list(SamplingMethod))
def test_times_are_within_half_a_frame_of_ffprobes(method: str, shared_data: Path) -> None:
    for path in videos(shared_data):
        expected = true_times(path)
        with av.open(str(path)) as container:
            rate = float(container.streams.video[0].average_rate or 25)
        data = path.read_bytes()
        if not expected:  # AVI's packets state none
            expected = [index / rate for index in range(1000)]
        part = 8.0 if method == "scene" else None  # it decodes all
        sampling = FrameSampling(method, 6, 2.0, 0.0, part, drop_near_duplicates=False, max_side=64)
        found = sampled(data, sampling)
        assert found, path.name
        for one in found:
            nearest = min(abs(time - one.time_seconds) for time in expected)
            assert nearest < 0.5 / rate, (path.name, one.time_seconds)


def test_pictures_are_those_of_plain_decoding(shared_data: Path) -> None:
    """Seeking and leaving frames out change nothing: each is the one on screen then, bit for bit."""
    for path in videos(shared_data):
        if path.stem == "corrupted":
            continue  # what a decoder makes up for lost parts depends on its threads
        data = path.read_bytes()
        end = min(12.0, true_times(path)[-1] if true_times(path) else 1.0)
        options = {"end_seconds": 12.0, "drop_near_duplicates": False, "max_side": 48}
        found = sampled(data, FrameSampling(max_frames=9, **options))
        found += sampled(data, FrameSampling(max_frames=3, start_seconds=end / 2, **options))
        pictures = {round(one.time_seconds, 4): one.pixels for one in found}
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            stream.codec_context.thread_type = "AUTO"
            start = (container.start_time or 0) / av.time_base
            for frame in container.decode(stream):
                time = round(max(0.0, float(frame.pts * stream.time_base) - start), 4)
                if not pictures:
                    break
                if time in pictures:
                    np.testing.assert_array_equal(
                        upright(frame, stream, 48), pictures.pop(time), err_msg=path.name
                    )
        assert not pictures, path.name


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


@pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="needs ffmpeg")
def test_colours_are_ffmpegs(shared_data: Path) -> None:
    names = (
        "bt601_full_range",
        "bt601_limited_range",
        "bt709_full_range",
        "nasa_13013",
        "testsrc2",
        "testsrc2_h265",
    )
    for name in names:
        path = shared_data / f"video/torchcodec/{name}.mp4"
        first = sampled(path.read_bytes(), FrameSampling("fps", 1, 0.01, max_side=4096))[0].pixels
        command = ["ffmpeg", "-v", "error", "-i", str(path), "-map", "0:v:0", "-frames:v", "1"]
        command += [
            "-vf",
            "scale=flags=area+accurate_rnd+full_chroma_int",
            "-f",
            "rawvideo",
            "-pix_fmt",
            "rgb24",
            "-",
        ]
        raw = subprocess.run(command, capture_output=True, check=True).stdout
        theirs = np.frombuffer(raw, dtype=np.uint8).reshape(first.shape).astype(float)
        assert np.abs(first - theirs).mean() < 3.5, name  # edges of colour differ by the scaler
        np.testing.assert_allclose(first.mean((0, 1)), theirs.mean((0, 1)), atol=2.0, err_msg=name)


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
