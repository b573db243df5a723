"""A transcript in the forms of OpenAI's API, and as the events of a stream."""

from __future__ import annotations

import math
from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import aclosing
from typing import Any

import msgspec
from starlette.responses import Response

from encoders.types import Transcript, TranscriptSegment
from serving.languages import language_name
from serving.live_transcripts import Followed
from serving.media_report import media_used
from serving.perceiver import Perceived
from serving.subtitles import srt, vtt

__all__ = ["transcript_events", "written_transcript"]


def written_transcript(
    form: str,
    granularities: Iterable[str],
    transcript: Transcript,
    used: Perceived,
    *,
    translated: bool = False,
) -> Response:
    """The transcript as ``json``, ``text``, ``srt``, ``verbose_json`` or ``vtt``. Hours of speech take a while:
    call it in a thread.
    """
    match form:
        case "text":
            return Response(transcript.text + "\n", media_type="text/plain")
        case "srt":
            return Response(srt(transcript), media_type="application/x-subrip; charset=utf-8")
        case "vtt":
            return Response(vtt(transcript), media_type="text/vtt")
        case "verbose_json":
            body = _verbose(transcript, frozenset(granularities), translated)
        case _:
            body = {"text": transcript.text, "usage": _usage(transcript)}
    return Response(
        msgspec.json.encode({**body, "manymodal": media_used([used])}), media_type="application/json"
    )


async def transcript_events(
    parts: AsyncGenerator[TranscriptSegment | Followed, None],
    perceived: Callable[[Followed], Perceived],
    *,
    segments: bool = False,
    words: bool = False,
) -> AsyncGenerator[bytes, None]:
    """``transcript.text.delta`` for each segment, one piece of bytes each, and ``transcript.text.done`` at the end.

    The deltas joined are the text of the end. With ``segments`` each is followed by a ``transcript.text.segment``
    with its times, with ``words`` also those of its words.
    """
    said, space, number = False, "", 0
    async with aclosing(parts):
        async for part in parts:
            if isinstance(part, Followed):
                yield _event(_done(part, perceived(part), segments))
                return
            text = space + part.text
            if not said:
                text = text.lstrip()
            delta = text.rstrip()
            space = text[
                len(delta) :
            ]  # outer space is no part of the text: whether this is outer is not known yet
            said = said or bool(delta)
            events = b"" if not delta else _event({"type": "transcript.text.delta", "delta": delta})
            if segments:
                events += _event(_segment_event(number, part, words))
            number += 1
            if events:
                yield events


def _event(body: dict[str, Any]) -> bytes:
    return b"data: " + msgspec.json.encode(body) + b"\n\n"


def _segment_event(number: int, segment: TranscriptSegment, words: bool) -> dict[str, Any]:
    event = {
        "type": "transcript.text.segment",
        "id": f"seg_{number:03d}",
        "start": segment.start_seconds,
        "end": segment.end_seconds,
        "text": segment.text,
        "speaker": "",  # OpenAI's event has one; who speaks is not known here
    }
    return event | ({"words": _words([segment])} if words else {})


def _done(end: Followed, used: Perceived, verbose: bool) -> dict[str, Any]:
    event: dict[str, Any] = {"type": "transcript.text.done", "text": end.transcript.text}
    if verbose:
        event["language"] = language_name(end.transcript.language)
        event["duration"] = end.transcript.duration_seconds
    return {**event, "usage": _usage(end.transcript), "manymodal": media_used([used])}


def _usage(transcript: Transcript) -> dict[str, Any]:
    """OpenAI counts started seconds."""
    return {"type": "duration", "seconds": math.ceil(transcript.duration_seconds)}


def _verbose(transcript: Transcript, granularities: frozenset[str], translated: bool) -> dict[str, Any]:
    body: dict[str, Any] = {
        "task": "translate" if translated else "transcribe",
        # Of a translation OpenAI tells the language that comes out.
        "language": "english" if translated else language_name(transcript.language),
        "duration": transcript.duration_seconds,
        "text": transcript.text,
    }
    if "segment" in granularities:
        body["segments"] = [
            {
                "id": index,
                # OpenAI counts ``seek`` in frames of 10 ms from the start of the sound.
                "seek": round(segment.start_seconds * 100),
                "start": segment.start_seconds,
                "end": segment.end_seconds,
                "text": segment.text,
                "tokens": list(segment.tokens),
                "temperature": segment.temperature,
                "avg_logprob": segment.average_log_probability,
                "compression_ratio": segment.compression_ratio,
                "no_speech_prob": segment.no_speech_probability,
            }
            for index, segment in enumerate(transcript.segments)
        ]
    if "word" in granularities:
        body["words"] = _words(transcript.segments)
    body["usage"] = _usage(transcript)
    return body


def _words(segments: Iterable[TranscriptSegment]) -> list[dict[str, Any]]:
    return [
        {"word": word.text.strip(), "start": word.start_seconds, "end": word.end_seconds}
        for segment in segments
        for word in segment.words
    ]
