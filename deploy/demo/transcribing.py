"""The tour's transcription."""

from __future__ import annotations

import time

from rich.console import Console

from deploy.demo.library import Library
from deploy.demo.report import Step, duration, print_fact
from deploy.demo.script import SPEECH_WORDS
from deploy.errors import TourFailed
from serving.cli.client import Server
from serving.cli.inputs import opened

__all__ = ["transcribe"]


def transcribe(server: Server, library: Library, console: Console) -> Step:
    """Transcribe the spoken sample with times, print it, check its words. Raises ``TourFailed``."""
    path = library.file("speech")
    print_fact(console, "sent", path.name)
    started = time.perf_counter()
    with server.translating(), opened(path) as (_, file):
        answer = server.openai.audio.transcriptions.create(
            file=(path.name, file),
            model="whisper-1",
            response_format="verbose_json",
            timestamp_granularities=["segment", "word"],
        )
    seconds = time.perf_counter() - started
    for segment in answer.segments or ():
        print_fact(
            console, "heard", f"{segment.start:4.1f} s to {segment.end:4.1f} s  {segment.text.strip()}"
        )
    words = answer.words or []
    heard_seconds = float(answer.duration)
    if heard_seconds <= 0:
        raise TourFailed("The transcript says that the recording has no length.")
    factor = seconds / heard_seconds
    print_fact(
        console,
        "took",
        f"{duration(seconds)} for {heard_seconds:.1f} s of {answer.language} speech "
        f"({len(words)} words with times), RTF {factor:.3f}",
    )
    missing = [word for word in SPEECH_WORDS if word not in answer.text.lower()]
    if missing:
        raise TourFailed(f"The transcript lacks {', '.join(missing)}; it says: {answer.text}")
    if not answer.segments or not words or words[-1].end > heard_seconds + 1:
        raise TourFailed("The transcript came without times, or with times after the recording's end.")
    return Step("Transcribe a recording", seconds, {"real_time_factor": factor})
