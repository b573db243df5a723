"""Text cut for a voice, sound made faster, and sound written as files."""

from __future__ import annotations

import io
import re

import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from encoders.speech.sound_writer import FORMS, sound_writer
from encoders.speech.tempo import Tempo
from encoders.speech.voice import pieces_of

RATE = 24_000


def tone(seconds: float) -> np.ndarray:
    return (0.4 * np.sin(2 * np.pi * 440 * np.arange(int(RATE * seconds)) / RATE)).astype(np.float32)


def heard(data: bytes, form: str) -> np.ndarray:
    """A written file, decoded."""
    if form == "pcm":
        return np.frombuffer(data, "<i2").astype(np.float32) / 32767
    resampler = av.AudioResampler("flt", "mono", RATE)
    with av.open(io.BytesIO(data)) as container:
        frames = [*container.decode(audio=0), None]
        return np.concatenate(
            [part.to_ndarray()[0] for frame in frames for part in resampler.resample(frame)]
        )


@given(st.text(max_size=600))
@settings(max_examples=200, deadline=None)
def test_pieces_are_short_and_keep_every_letter(text):
    pieces = list(pieces_of(text.splitlines()))
    assert all(0 < len(piece) <= 240 for piece in pieces)
    assert all(len(word) <= 30 for piece in pieces for word in piece.split())

    def letters(of):
        return "".join(character for character in of if character.isprintable() and not character.isspace())

    assert letters("".join(pieces)) == letters("".join(text.splitlines()))


def test_long_sentences_are_cut_between_clauses_and_long_numbers_are_spelled():
    clause = "a clause of some thirty letters,"
    pieces = list(pieces_of([" ".join([clause] * 20)]))
    assert all(piece.endswith("letters,") for piece in pieces)
    assert list(pieces_of(["1" * 16])) == [" ".join("1" * 16)]
    assert list(pieces_of(["1" * 15])) == ["1" * 15]


@pytest.mark.parametrize("form", FORMS)
def test_every_form_can_be_read_again(form):
    sound = tone(1.5)
    writer = sound_writer(form, RATE)
    data = b"".join(writer.write(part) for part in np.array_split(sound, 7)) + writer.end()
    writer.close()
    again = heard(data, form)
    assert abs(len(again) - len(sound)) < 0.15 * RATE  # encoders pad
    spectrum = np.abs(np.fft.rfft(again[RATE // 4 : RATE]))
    assert abs(np.argmax(spectrum) * RATE / (RATE - RATE // 4) - 440) < 5
    if form in ("wav", "pcm", "flac"):
        np.testing.assert_allclose(again, sound, atol=1e-4)


@pytest.mark.parametrize("form", FORMS)
def test_a_file_that_is_given_up_or_empty(form):
    writer = sound_writer(form, RATE)
    writer.write(tone(0.1))
    writer.close()
    writer.close()
    assert isinstance(sound_writer(form, RATE).end(), bytes)


@pytest.mark.parametrize("factor", [1.0, 1.3, 2.0, 3.0, 4.0])
def test_faster_at_the_same_pitch(factor):
    sound, tempo = tone(2.0), Tempo(factor, RATE)
    faster = np.concatenate([*(tempo.faster(part) for part in np.array_split(sound, 5)), tempo.rest()])
    assert abs(len(faster) - len(sound) / factor) < 0.1 * RATE
    peak = np.argmax(np.abs(np.fft.rfft(faster))) * RATE / len(faster)
    assert abs(peak - 440) < 5


def test_what_was_loud_is_not_wrapped_around():
    assert re.fullmatch(
        rb"(\xff\x7f|\x01\x80)+", sound_writer("pcm", RATE).write(np.array([2.0, -2.0], np.float32))
    )
