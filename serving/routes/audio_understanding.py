"""``POST /v1/audio/transcribe``."""

from __future__ import annotations

import asyncio
import math
import time
from typing import Any

import msgspec
from fastapi import APIRouter, Request
from starlette.responses import Response

from encoders.types import MediaKind, TranscribeOptions, Transcript
from serving import origin
from serving.admission import AdmittedMedia
from serving.auth import CurrentTenant
from serving.chat import PreparedChat
from serving.disconnect import unless_gone
from serving.errors import InvalidRequest
from serving.gateway import Gateway, gateway_of
from serving.hearing import check_sound, hear
from serving.languages import checked_language
from serving.media_report import media_used
from serving.medium_question import MediumSource, as_asked, medium_source, prepare_question
from serving.perceive_options import PerceiveOptions
from serving.perceiver import Perceived
from serving.protocol.understanding import AudioUnderstanding, AudioUnderstandingRequest
from serving.routes.answers import streamed_chat
from serving.routes.body import json_schema, read_either
from serving.subtitles import srt, timed_text

__all__ = ["router"]

router = APIRouter()

_HEARABLE = frozenset({MediaKind.AUDIO, MediaKind.VIDEO})


@router.post(
    "/v1/audio/transcribe",
    response_model=None,
    responses={
        200: {
            "model": AudioUnderstanding,
            "content": {
                "text/plain": {"schema": {"type": "string"}},
                "application/x-subrip": {"schema": {"type": "string"}},
            },
        }
    },
    openapi_extra=json_schema(AudioUnderstandingRequest, "audio_file"),
)
async def understand_audio(request: Request, tenant: CurrentTenant) -> Response:
    """What is said in a sound file or a video; with a prompt, what the chat model makes of it."""
    gateway = gateway_of(request)
    origin.brings("audio")
    async with read_either(request, AudioUnderstandingRequest, "audio_file") as (wanted, upload):
        _check(wanted)
        gateway.catalogue.chat_model(wanted.model)
        options = TranscribeOptions(checked_language(wanted.language))
        source = medium_source(
            gateway.admission,
            tenant,
            _HEARABLE,
            file=("audio_file", upload),
            url=("audio_url", wanted.audio_url),
            file_id=wanted.file_id,
        )
        if wanted.prompt is None:
            work = gateway.admission.use(
                source.bring, lambda admitted: hear(gateway.perceiver, admitted, source.param, options)
            )
            transcript, used = await unless_gone(request, work)
            # Hours of speech have tens of thousands of words.
            return await asyncio.to_thread(_heard, request, gateway, wanted, transcript, used)
        asking = _ask(gateway, tenant, source, wanted, wanted.prompt, options)
        transcript, prepared = await unless_gone(request, asking)
    with as_asked(source.param):
        if wanted.stream:
            return await streamed_chat(request, gateway, prepared)
        answer = await unless_gone(request, gateway.chat.complete(prepared, request.state.request_id))
    return await asyncio.to_thread(_answered, wanted, msgspec.json.decode(answer), transcript)


def _check(wanted: AudioUnderstandingRequest) -> None:
    """What does not go together."""
    if wanted.stream and (wanted.prompt is None or wanted.format != "json"):
        raise InvalidRequest(
            "'stream' is for the answer to a 'prompt', and its events are JSON: leave 'format' out.", "stream"
        )
    if wanted.prompt is not None and wanted.format == "srt":
        raise InvalidRequest(
            "An answer has no times to make subtitles of: with 'prompt' the 'format' is 'json' or 'text'.",
            "format",
        )
    if wanted.prompt is not None and wanted.format == "text" and wanted.include_timestamps:
        raise InvalidRequest(
            "With 'prompt' and 'format' 'text' the answer comes alone; for times as well ask for 'json'.",
            "include_timestamps",
        )


async def _ask(
    gateway: Gateway,
    tenant: str,
    source: MediumSource,
    wanted: AudioUnderstandingRequest,
    prompt: str,
    options: TranscribeOptions,
) -> tuple[Transcript, PreparedChat]:
    """What was said, and the chat about it."""

    async def ask(admitted: AdmittedMedia) -> tuple[Transcript, PreparedChat]:
        check_sound(admitted, source.param)
        prepared = await prepare_question(
            gateway.chat,
            tenant,
            admitted,
            source.param,
            wanted,
            prompt,
            PerceiveOptions(transcription=options),
        )
        heard = prepared.perceived[0].medium.transcript
        if heard is None:  # a decoder that listens itself is given no transcript
            heard, _ = await hear(gateway.perceiver, admitted, source.param, options)
        return heard, prepared

    return await gateway.admission.use(source.bring, ask)


def _heard(
    request: Request,
    gateway: Gateway,
    wanted: AudioUnderstandingRequest,
    transcript: Transcript,
    used: Perceived,
) -> Response:
    """The transcript alone, in the form that was asked for."""
    if wanted.format == "srt":
        return Response(srt(transcript), media_type="application/x-subrip; charset=utf-8")
    if wanted.format == "text":
        text = timed_text(transcript) if wanted.include_timestamps else transcript.text + "\n"
        return Response(text, media_type="text/plain")
    body = {
        "id": request.state.request_id,
        "object": "audio.understanding",
        "created": int(time.time()),
        "model": gateway.catalogue.speech.name,
        "audio_id": used.medium.id,
        **_said(transcript, wanted),
        "usage": {"type": "duration", "seconds": math.ceil(transcript.duration_seconds)},
        "manymodal": media_used([used]),
    }
    return Response(msgspec.json.encode(body), media_type="application/json")


def _answered(wanted: AudioUnderstandingRequest, chat: dict[str, Any], transcript: Transcript) -> Response:
    """The chat model's answer, with the transcript if it is JSON."""
    choice = chat["choices"][0]
    answer = choice["message"]["content"] or ""
    if wanted.format == "text":
        return Response(answer + "\n", media_type="text/plain")
    body = {
        "id": chat["id"],
        "object": "audio.understanding",
        "created": chat["created"],
        "model": chat["model"],
        "audio_id": chat["manymodal"]["media"][0]["id"],
        **_said(transcript, wanted),
        "answer": answer,
        "finish_reason": choice["finish_reason"],
        "usage": chat["usage"],
        "manymodal": chat["manymodal"],
    }
    return Response(msgspec.json.encode(body), media_type="application/json")


def _said(transcript: Transcript, wanted: AudioUnderstandingRequest) -> dict[str, Any]:
    said: dict[str, Any] = {
        "language": transcript.language,
        "duration_seconds": transcript.duration_seconds,
        "text": transcript.text,
    }
    if wanted.include_timestamps:
        said["segments"] = [
            {"start": one.start_seconds, "end": one.end_seconds, "text": one.text.strip()}
            for one in transcript.segments
        ]
        said["words"] = [
            {"start": word.start_seconds, "end": word.end_seconds, "word": word.text.strip()}
            for one in transcript.segments
            for word in one.words
        ]
    return said
