"""Tiny "media" that the stand-in encoders can read, and what they make of words.

A fake medium is the real magic number of its format followed by JSON that says what is to be perceived, so
the gateway's own sniffing and storing run on it as on real files.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from encoders.types import (
    Transcript,
    TranscriptSegment,
    TranscriptWord,
)

__all__ = [
    "DIMENSIONS",
    "FAKE_PATCHES",
    "FAKE_SIDE",
    "FAKE_TOKEN_WIDTH",
    "MP4",
    "PNG",
    "WAV",
    "fake_embedding",
    "fake_mp4",
    "fake_png",
    "fake_transcript",
    "fake_wav",
]

DIMENSIONS = 384
FAKE_SIDE = 8
FAKE_PATCHES, FAKE_TOKEN_WIDTH = 4, 6
PNG = b"\x89PNG\r\n\x1a\n"
WAV = b"RIFF\x00\x00\x00\x00WAVE"
MP4 = b"\x00\x00\x00\x18ftypisom\x00\x00\x02\x00isomiso2"


def fake_png(labels: Mapping[str, float] | None = None, text: tuple[str, ...] = (), **facts: Any) -> bytes:
    """A picture with labels and text lines."""
    return PNG + json.dumps({"labels": dict(labels or {"cat": 0.8}), "text": text, **facts}).encode()


def fake_wav(*speech: tuple[float, float, str], seconds: float = 5.0) -> bytes:
    """A sound file with passages of speech."""
    return WAV + json.dumps({"speech": speech, "seconds": seconds}).encode()


def fake_mp4(
    frames: list[Mapping[str, float]], *speech: tuple[float, float, str], sound: bool = True
) -> bytes:
    """A video with one frame a second, each with labels, and passages of speech."""
    return MP4 + json.dumps({"frames": frames, "speech": speech, "sound": sound}).encode()


def fake_embedding(text: str) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Words hashed into a unit vector: texts that share words are near."""
    vector = np.zeros(DIMENSIONS, np.float32)
    for word in re.findall(r"\w+", text.lower()) or ["nothing"]:
        vector[int.from_bytes(hashlib.sha256(word.encode()).digest()[:4], "big") % DIMENSIONS] += 1
    return (vector / np.linalg.norm(vector)).astype(np.float32)


def fake_transcript(
    speech: list[tuple[float, float, str]], seconds: float, language: str = "en"
) -> Transcript:
    """A transcript of passages; each word gets an equal share of its passage's time."""
    segments = []
    for start, end, text in speech:
        words = text.split()
        step = (end - start) / max(1, len(words))
        times = [start + step * index for index in range(len(words))]
        heard = tuple(TranscriptWord(t, t + step, f" {w}", 0.9) for t, w in zip(times, words, strict=True))
        segments.append(TranscriptSegment(start, end, f" {text}", -0.2, 0.01, 1.1, 0.0, (1, 2), heard))
    return Transcript(language, seconds, tuple(segments))
