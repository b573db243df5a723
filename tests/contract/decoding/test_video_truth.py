"""Every real video held against others' word: ffprobe's times, plain decoding's pictures, ffmpeg's colours."""

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

from encoders.config import DecodeLimits
from encoders.decoding.probe import probe
from encoders.decoding.rgb import upright
from encoders.decoding.sniff import sniff
from encoders.decoding.video import SampledFrame, sample_frames
from encoders.errors import UnsupportedMedia
from encoders.types import FrameSampling, MediaKind, SamplingMethod

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


def test_every_real_video_decodes_within_half_a_frame_of_its_middles(shared_data: Path) -> None:
    for path in sorted((shared_data / "video").rglob("*.*")):
        data = path.read_bytes()
        if path.suffix in (".swf", ".mpg"):
            with pytest.raises(UnsupportedMedia):
                probe(io.BytesIO(data), LIMITS)
        elif path.suffix in (".mp4", ".mov", ".mkv", ".webm", ".avi"):
            info = probe(io.BytesIO(data), LIMITS)
            assert info.kind is MediaKind.VIDEO, path.name
            assert info.frames_per_second, path.name
            sampling = FrameSampling(max_frames=3, drop_near_duplicates=False)
            *found, summary = sample_frames(io.BytesIO(data), sniff(data), LIMITS, sampling)
            seconds = summary.duration_seconds
            assert info.duration_seconds == pytest.approx(seconds)
            wanted = [seconds * part for part in (1 / 6, 1 / 2, 5 / 6)]
            for one in found:
                gap = min(wanted, key=lambda time, one=one: abs(time - one.time_seconds)) - one.time_seconds
                assert -0.5 / info.frames_per_second < gap < 1.5 / info.frames_per_second, path.name
            assert (
                found[0].pixels.shape[:2] == (info.height, info.width) or max(info.height, info.width) > 768
            )


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
