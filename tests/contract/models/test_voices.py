"""Every packaged voice: what it says is heard, it is the same each time, and no text is too much for it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from jiwer import wer
from loaded_models import each, loaded, plain

from encoders.speech.voice import Utterance
from encoders.types import ModelSpec, TranscribeOptions

TEXT = (
    "Bytes come in once, through one safe door. They are stored by their content, and encoded once. "
    "Dr. Smith of [our team](/people/) paid for it, said the woman who reads the news."
)
SPOKEN = (
    "bytes come in once through one safe door they are stored by their content and encoded once "
    "doctor smith of our team people paid for it said the woman who reads the news"
)
# Of each kind thousands of characters at once would take minutes, or fail.
HOSTILE = ("1-" * 120, "[" * 600, "a1" * 120, "9" * 300, "\u00b2" * 100, "\uff11" * 50, "\x00\u200d\ud800")


def at_16_khz(samples: np.ndarray, rate: int) -> np.ndarray:
    frame = av.AudioFrame.from_ndarray(samples[None], format="flt", layout="mono")
    frame.sample_rate = rate
    resampler = av.AudioResampler("flt", "mono", 16_000)
    return np.concatenate([part.to_ndarray()[0] for one in (frame, None) for part in resampler.resample(one)])


def said(voice: Any, text: str, pace: float = 1.0) -> list[Utterance]:
    return list(voice.speak(text, pace))


@pytest.mark.models
@each("voice")
def test_what_is_said_is_heard(spec: ModelSpec, models_dir: Path) -> None:
    voice = loaded(spec.name, models_dir)
    assert voice.sample_rate == spec.extra["sample_rate"]
    utterances = said(voice, TEXT)
    assert len(utterances) == 3  # one for each sentence, so that the first comes soon
    assert all(one.input_tokens > 0 and one.output_tokens > 0 for one in utterances)
    sound = np.concatenate([one.samples for one in utterances])
    assert sound.dtype == np.float32
    assert 0.05 < np.abs(sound).max() <= 1.0
    again = np.concatenate([one.samples for one in said(voice, TEXT)])
    np.testing.assert_array_equal(sound, again)
    options = TranscribeOptions("en", words=False)
    heard = loaded("whisper-base", models_dir).transcribe(at_16_khz(sound, voice.sample_rate), options)
    assert wer(SPOKEN, plain(heard.text).replace("dr ", "doctor ")) < 0.15
    slow = sum(len(one.samples) for one in said(voice, TEXT[:42], 0.5))
    assert slow == pytest.approx(2 * len(utterances[0].samples), rel=0.05)


@pytest.mark.models
@each("voice")
@pytest.mark.parametrize("text", HOSTILE, ids=lambda text: ascii(text[:4]))
def test_hostile_texts_are_read_or_left_out(spec: ModelSpec, models_dir: Path, text: str) -> None:
    voice = loaded(spec.name, models_dir)
    for utterance in said(voice, text):
        assert np.isfinite(utterance.samples).all()
        assert len(utterance.samples) < 120 * voice.sample_rate


@pytest.mark.models
@each("voice")
def test_what_it_cannot_read_is_left_out(spec: ModelSpec, models_dir: Path) -> None:
    voice = loaded(spec.name, models_dir)
    assert said(voice, "\u4f60\u597d") == []
    assert len(said(voice, "\u4f60\u597d. Hello.")) == 1
