"""The four ways of choosing frames, what is left out as a repetition, and that frames come as they are decoded."""

from __future__ import annotations

import io
import itertools
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from encoders.config import DecodeLimits
from encoders.decoding import scenes
from encoders.decoding.sniff import sniff
from encoders.decoding.video import SampledFrame, sample_frames
from encoders.errors import EncoderError, UnsupportedMedia
from encoders.types import FrameSampling, VideoSummary

LIMITS = DecodeLimits()
Encode = Callable[..., bytes]


def sampled(
    data: bytes, method: str = "uniform", **options: object
) -> tuple[list[SampledFrame], VideoSummary]:
    sampling = FrameSampling(method, **{"drop_near_duplicates": False, **options})
    *frames, summary = sample_frames(io.BytesIO(data), sniff(data), LIMITS, sampling)
    assert isinstance(summary, VideoSummary)
    return frames, summary


def times(frames: list[SampledFrame]) -> list[float]:
    return [one.time_seconds for one in frames]


def reasons(frames: list[SampledFrame]) -> list[str]:
    return [one.reason for one in frames]


def greys(frames: list[SampledFrame]) -> list[int]:
    """Which frame of ``video_bytes`` each sample shows."""
    return [round((float(one.pixels.mean()) - 10) / 10) for one in frames]


TENTHS = [index / 10 for index in range(24)]


def gops(keyframe_every: int, container: str = "mp4", seekable: bool = True) -> bytes:
    """24 frames at ten a second, each of one grey as in ``video_bytes``; the encoder adds no I-frame by itself."""
    file = io.BytesIO()

    class Pipe(io.RawIOBase):
        def writable(self) -> bool:
            return True

        def write(self, data: bytes) -> int:
            return file.write(data)

    with av.open(file if seekable else Pipe(), "w", format=container) as out:
        stream = out.add_stream("mpeg4", rate=10, options={"sc_threshold": "1000000000"})
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.codec_context.gop_size = keyframe_every
        stream.codec_context.max_b_frames = 0
        stream.bit_rate = 2_000_000
        for index in range(24):
            frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), 10 + 10 * index, np.uint8), "rgb24")
            frame.pts, frame.time_base = index, Fraction(1, 10)
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    return file.getvalue()


# -- fps --------------------------------------------------------------------------------------------------


def test_fps(video_bytes: Encode) -> None:
    frames, _ = sampled(video_bytes(TENTHS), "fps", frames_per_second=2)
    assert times(frames) == pytest.approx([0, 0.5, 1.0, 1.5, 2.0], abs=0.001)
    assert greys(frames) == [0, 5, 10, 15, 20]
    assert set(reasons(frames)) == {"fps"}


def test_more_a_second_than_there_are_gives_each_once(video_bytes: Encode) -> None:
    frames, _ = sampled(video_bytes(TENTHS), "fps", frames_per_second=60, max_frames=256)
    assert greys(frames) == list(range(24))


def test_fps_is_thinned_over_the_whole_length(video_bytes: Encode) -> None:
    frames, _ = sampled(video_bytes(TENTHS), "fps", frames_per_second=10, max_frames=4)
    assert greys(frames) == [3, 9, 15, 21]


# -- keyframes --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("container", ["mp4", "matroska", "avi"])
def test_keyframes_are_found_and_nothing_else_is_decoded(container: str) -> None:
    """All other frames' bytes are overwritten: whoever decoded them would stumble."""
    data = gops(4, container)
    whole, _ = sampled(data, "keyframes")
    broken = bytearray(data)
    with av.open(io.BytesIO(data)) as opened:
        for packet in opened.demux(video=0):
            if packet.size and not packet.is_keyframe and container == "mp4":
                assert packet.pos is not None
                broken[packet.pos : packet.pos + packet.size] = bytes(packet.size)
    frames, summary = sampled(bytes(broken), "keyframes")
    assert greys(frames) == [0, 4, 8, 12, 16, 20]
    assert reasons(frames) == ["keyframe"] * 6
    assert times(frames) == pytest.approx([0, 0.4, 0.8, 1.2, 1.6, 2.0], abs=0.11)
    assert times(frames) == times(whole)
    assert summary.duration_seconds == pytest.approx(2.4, abs=0.15)


def test_many_keyframes_are_thinned() -> None:
    frames, _ = sampled(gops(2), "keyframes", max_frames=3)
    assert greys(frames) == [4, 12, 20]


def test_few_keyframes_are_filled_up_to_five() -> None:
    data = gops(10)  # at 0, 1 and 2 seconds
    frames, _ = sampled(data, "keyframes")
    assert reasons(frames) == ["keyframe", "fill", "keyframe", "fill", "keyframe"]
    assert greys(frames) == [0, 5, 10, 15, 20]
    few, _ = sampled(data, "keyframes", max_frames=2)
    assert reasons(few) == ["keyframe", "keyframe"]


def test_keyframes_of_a_part() -> None:
    data = gops(2)
    frames, _ = sampled(data, "keyframes", start_seconds=0.7, end_seconds=1.8)
    assert greys(frames) == [8, 10, 12, 14, 16]


def test_keyframes_of_a_recording_without_duration() -> None:
    data = gops(4, "matroska", seekable=False)
    frames, summary = sampled(data, "keyframes")
    assert greys(frames) == [0, 4, 8, 12, 16, 20]
    assert summary.duration_seconds == pytest.approx(2.4, abs=0.15)


# -- scenes -----------------------------------------------------------------------------------------------


def scenery(lengths: list[float], rate: int = 20, size: tuple[int, int] = (128, 96)) -> bytes:
    """Scenes of different patterns that move slowly, one after the other."""
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4") as out:
        stream = out.add_stream("mpeg4", rate=rate)
        stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
        stream.codec_context.gop_size = 50
        stream.bit_rate = 4_000_000
        count = 0
        for scene, seconds in enumerate(lengths):
            rng = np.random.default_rng(scene)
            colours = rng.integers(0, 256, (6, 8, 3), dtype=np.uint8)
            pattern = np.kron(colours, np.ones((32, 32, 1), dtype=np.uint8))
            for index in range(round(seconds * rate)):
                picture = np.ascontiguousarray(np.roll(pattern, index // 4, axis=1)[: size[1], : size[0]])
                frame = av.VideoFrame.from_ndarray(picture, "rgb24")
                frame.pts, frame.time_base = count, Fraction(1, rate)
                out.mux(stream.encode(frame))
                count += 1
        out.mux(stream.encode(None))
    return buffer.getvalue()


def test_the_middle_of_each_scene() -> None:
    lengths = [2.0, 1.5, 3.0, 1.0, 2.5]
    frames, summary = sampled(scenery(lengths), "scene")
    edges = np.cumsum([0, *lengths])
    assert times(frames) == pytest.approx(list((edges[:-1] + edges[1:]) / 2), abs=0.1)
    assert reasons(frames) == ["scene"] * 5
    assert summary.scene_changes_seconds == pytest.approx(list(edges[1:-1]), abs=0.1)
    assert sampled(scenery(lengths), "uniform")[1].scene_changes_seconds == ()  # not looked for


def test_few_scenes_are_filled_up_to_five_and_many_are_thinned() -> None:
    frames, _ = sampled(scenery([2.0, 2.0]), "scene")
    assert sorted(reasons(frames)) == ["fill"] * 3 + ["scene"] * 2
    many, _ = sampled(scenery([1.0] * 8), "scene", max_frames=3)
    assert times(many) == pytest.approx([1.5, 4.5, 6.5], abs=1.1)
    assert reasons(many) == ["scene"] * 3


def test_scenes_of_a_part() -> None:
    frames, _ = sampled(scenery([2.0] * 6), "scene", start_seconds=4.0, end_seconds=8.0, max_frames=2)
    assert times(frames) == pytest.approx([5.0, 7.0], abs=0.15)


def test_where_decoding_all_is_too_much_keyframes_tell_the_scenes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scenes, "_MAX_PIXELS", 1)
    frames, _ = sampled(scenery([2.5, 2.5, 2.5, 2.5, 2.5]), "scene")
    assert times(frames) == pytest.approx([1.25, 3.75, 6.25, 8.75, 11.25], abs=0.2)


def test_scenes_are_those_pyscenedetect_finds_in_the_file(shared_data: Path) -> None:
    path = shared_data / "video/torchcodec/nasa_13013.mp4"
    from scenedetect import AdaptiveDetector, detect

    edges = [float(start.seconds) for start, _ in detect(str(path), AdaptiveDetector())] + [13.0]
    expected = [(a + b) / 2 for a, b in itertools.pairwise(edges)]
    frames, _ = sampled(path.read_bytes(), "scene")
    found = [one.time_seconds for one in frames if one.reason == "scene"]
    assert found == pytest.approx(expected, abs=0.15)


# -- repetitions ------------------------------------------------------------------------------------------


def test_what_shows_the_same_is_left_out_and_counted(video_bytes: Encode) -> None:
    data = video_bytes(TENTHS)
    frames, summary = sampled(data, max_frames=24, drop_near_duplicates=True)
    assert greys(frames) == list(range(0, 24, 2))  # ten steps of 256 are noise, twenty are not
    every = sampled(data, max_frames=24)[0]
    assert len(frames) + summary.near_duplicates == len(every)
    assert sorted([*times(frames), *summary.repeat_times_seconds]) == times(every)
    _, summary = sampled(data, max_frames=24)
    assert summary.near_duplicates == 0


@pytest.mark.parametrize("method", ["uniform", "fps", "keyframes", "scene"])
def test_a_still_video_keeps_one_frame(method: str, shared_data: Path) -> None:
    data = (shared_data / "video/torchcodec/nasa_13013_rotated.mp4").read_bytes()
    frames, summary = sampled(data, method, drop_near_duplicates=True, frames_per_second=10)
    assert len(frames) == 1
    assert summary.near_duplicates >= 4


def test_still_shots_go_and_motion_stays(shared_data: Path) -> None:
    """Cars drive through a still picture: what is dropped lies between them."""
    data = (shared_data / "video/intel-sample-videos/car-detection.mp4").read_bytes()
    every, _ = sampled(data, max_frames=32)
    kept, summary = sampled(data, max_frames=32, drop_near_duplicates=True)
    assert 5 <= summary.near_duplicates <= 20
    assert len(kept) + summary.near_duplicates == len(every)
    bunny = (shared_data / "video/bigbuckbunny/bigbuckbunny.mp4").read_bytes()
    assert sampled(bunny, drop_near_duplicates=True)[1].near_duplicates == 0


# -- all methods ------------------------------------------------------------------------------------------


def test_a_part_of_a_video_begins_with_what_is_on_screen(video_bytes: Encode) -> None:
    frames, summary = sampled(video_bytes(TENTHS), max_frames=4, start_seconds=1.0, end_seconds=1.8)
    assert greys(frames) == [11, 13, 15, 17]
    assert summary.duration_seconds == pytest.approx(2.4, abs=0.15)


def test_a_start_past_the_end(video_bytes: Encode) -> None:
    with pytest.raises(UnsupportedMedia, match=r"start_seconds is 99, but the video is only 2\.\d+ seconds"):
        sampled(video_bytes(TENTHS), start_seconds=99)


@pytest.mark.parametrize("side", [16, 64, 1000])
def test_the_longer_side(side: int, video_bytes: Encode) -> None:
    frames, _ = sampled(video_bytes([0, 0.1], size=(160, 90)), max_side=side)
    assert max(frames[0].pixels.shape) == min(side, 160)


def test_the_first_frame_comes_before_the_rest_is_read(shared_data: Path) -> None:
    data = (shared_data / "video/bigbuckbunny/bigbuckbunny.mp4").read_bytes()

    class Watched(io.BytesIO):
        read_bytes = 0

        def read(self, size: int | None = -1) -> bytes:
            got = super().read(size)
            self.read_bytes += len(got)
            return got

    file = Watched(data)
    stream = sample_frames(file, sniff(data), LIMITS, FrameSampling(max_frames=8))
    assert isinstance(next(stream), SampledFrame)
    at_first = file.read_bytes
    assert at_first < len(data) / 2
    stream.close()
    assert file.read_bytes == at_first
    assert not file.closed


@pytest.mark.parametrize("method", ["uniform", "fps", "keyframes", "scene"])
def test_strange_files_give_frames(method: str, shared_data: Path) -> None:
    for name in (
        "decord/corrupted.mp4",
        "decord/unordered.mov",
        "torchcodec/discard_first_keyframe.mp4",
        "torchcodec/test_non_zero_start.mp4",
        "torchcodec/testsrc2_mpeg4.mp4",
        "torchcodec/testsrc2_odd_height_and_width_vp9_10bit.mp4",
    ):
        data = (shared_data / "video" / name).read_bytes()
        frames, summary = sampled(data, method, frames_per_second=5)
        assert frames, name
        assert times(frames) == sorted(set(times(frames))), name
        assert times(frames)[-1] <= summary.duration_seconds, name


@pytest.mark.parametrize("method", ["keyframes", "scene"])
@pytest.mark.parametrize("keep", [0.2, 0.5, 0.9])
def test_cut_off_files_give_frames_or_a_typed_error(method: str, keep: float, video_bytes: Encode) -> None:
    for container in ("mp4", "matroska", "avi"):
        data = video_bytes(TENTHS, container=container)
        try:
            frames, _ = sampled(data[: int(len(data) * keep)], method)
        except EncoderError:
            assert container == "mp4" or keep == 0.2  # its index is at the end
        else:
            assert frames
