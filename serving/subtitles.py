"""Transcripts with times: as SubRip (srt), as WebVTT (vtt), and as plain lines."""

from __future__ import annotations

import re
from collections.abc import Iterable

from encoders.types import Transcript, TranscriptSegment

__all__ = ["srt", "timed_text", "vtt"]

_ARROW = re.compile("--+>")


def srt(transcript: Transcript) -> str:
    """SubRip: numbered cues, comma before milliseconds."""
    cues = []
    for number, segment in enumerate(_spoken(transcript), start=1):
        times = f"{_clock(segment.start_seconds, ',')} --> {_clock(segment.end_seconds, ',')}"
        cues.append(f"{number}\n{times}\n{_cue_text(segment)}\n\n")
    return "".join(cues)


def vtt(transcript: Transcript) -> str:
    """WebVTT: a header, then cues with a dot before milliseconds; ``&``, ``<`` and ``>`` are escaped."""
    cues = ["WEBVTT\n\n"]
    for segment in _spoken(transcript):
        text = _cue_text(segment).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
        cues.append(
            f"{_clock(segment.start_seconds, '.')} --> {_clock(segment.end_seconds, '.')}\n{text}\n\n"
        )
    return "".join(cues)


def timed_text(transcript: Transcript) -> str:
    """One line a passage, its times in brackets before it."""
    return "".join(
        f"[{_clock(segment.start_seconds, '.')} --> {_clock(segment.end_seconds, '.')}] {_cue_text(segment)}\n"
        for segment in _spoken(transcript)
    )


def _spoken(transcript: Transcript) -> Iterable[TranscriptSegment]:
    return (segment for segment in transcript.segments if segment.text.strip())


def _cue_text(segment: TranscriptSegment) -> str:
    """One line: an arrow or an empty line inside a cue would break the file."""
    return _ARROW.sub("->", " ".join(segment.text.split()))


def _clock(seconds: float, mark: str) -> str:
    milliseconds = round(max(0.0, seconds) * 1000)
    minutes, milliseconds = divmod(milliseconds, 60_000)
    hours, minutes = divmod(minutes, 60)
    whole, milliseconds = divmod(milliseconds, 1000)
    return f"{hours:02d}:{minutes:02d}:{whole:02d}{mark}{milliseconds:03d}"
