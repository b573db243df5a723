"""``POST /v1/audio/transcriptions`` and ``POST /v1/audio/translations``."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Any, TypeAlias

from fastapi import APIRouter, Request
from starlette.datastructures import FormData
from starlette.responses import Response

from encoders.types import MediaKind, TranscribeOptions
from serving import origin
from serving.admission import Admission, AdmittedMedia
from serving.auth import CurrentTenant
from serving.disconnect import unless_gone
from serving.error_handlers import error_parts
from serving.errors import InvalidRequest
from serving.event_stream import EventStream
from serving.gateway import gateway_of
from serving.hearing import hear, hear_along
from serving.languages import checked_language
from serving.openapi import answers, form_body
from serving.protocol.audio import (
    ChunkingStrategy,
    Transcription,
    TranscriptionEvent,
    TranscriptionRequest,
    Translation,
    TranslationRequest,
)
from serving.protocol.parse import decode_json, validated
from serving.routes.body import open_form, uploaded_file
from serving.transcript_forms import transcript_events, written_transcript

__all__ = ["router"]

router = APIRouter()

_Bring: TypeAlias = Callable[[bool], Awaitable[AdmittedMedia]]

_HEARABLE = frozenset({MediaKind.AUDIO, MediaKind.VIDEO})
_LISTS = {
    "timestamp_granularities",
    "include",
    "known_speaker_names",
    "known_speaker_references",
    "languages",
    "keywords",
}
_NESTED = re.compile(r"chunking_strategy\[(\w{1,32})\]")  # how the official clients write an object's fields
_TEXTS = {kind: {"type": "string"} for kind in ("text/plain", "application/x-subrip", "text/vtt")}


@router.post(
    "/v1/audio/transcriptions",
    response_model=None,
    responses=answers(Transcription, TranscriptionEvent, other=_TEXTS),
    openapi_extra=form_body("file", TranscriptionRequest),
)
async def create_transcription(request: Request, tenant: CurrentTenant) -> Response:
    """OpenAI's transcription of a sound file, or of the sound of a video; streamed, while it is being made."""
    gateway = gateway_of(request)
    origin.brings("audio")
    async with open_form(request) as form:
        wanted = validated(TranscriptionRequest, _fields(form))
        gateway.catalogue.check(gateway.catalogue.speech, wanted.model)
        wanted.refuse_what_is_not_offered()
        chunking = wanted.chunking_strategy
        options = TranscribeOptions(
            checked_language(wanted.language),
            wanted.prompt or None,
            wanted.temperature,
            activity=chunking.activity() if isinstance(chunking, ChunkingStrategy) else None,
        )
        bring, param = _source(gateway.admission, tenant, form, wanted.file_id)
        if wanted.stream:
            return await _streamed(request, bring, param, options, wanted)
        work = gateway.admission.use(
            bring, lambda admitted: hear(gateway.perceiver, admitted, param, options)
        )
        transcript, used = await unless_gone(request, work)
    return await asyncio.to_thread(
        written_transcript, wanted.response_format, wanted.timestamp_granularities, transcript, used
    )


@router.post(
    "/v1/audio/translations",
    response_model=None,
    responses=answers(Translation, other=_TEXTS),
    openapi_extra=form_body("file", TranslationRequest),
)
async def create_translation(request: Request, tenant: CurrentTenant) -> Response:
    """OpenAI's translation of a sound file, or of the sound of a video, into English."""
    gateway = gateway_of(request)
    origin.brings("audio")
    async with open_form(request) as form:
        wanted = validated(TranslationRequest, _fields(form))
        gateway.catalogue.check(gateway.catalogue.speech, wanted.model)
        options = TranscribeOptions(
            prompt=wanted.prompt or None, temperature=wanted.temperature, translate=True
        )
        bring, param = _source(gateway.admission, tenant, form, wanted.file_id)
        work = gateway.admission.use(
            bring, lambda admitted: hear(gateway.perceiver, admitted, param, options)
        )
        transcript, used = await unless_gone(request, work)
    return await asyncio.to_thread(
        written_transcript, wanted.response_format, ["segment"], transcript, used, translated=True
    )


async def _streamed(
    request: Request, bring: _Bring, param: str, options: TranscribeOptions, wanted: TranscriptionRequest
) -> Response:
    """The events of a transcription that has begun: what keeps it from beginning is an answer of its own."""
    gateway = gateway_of(request)
    verbose = wanted.response_format == "verbose_json"

    async def begin(admitted: AdmittedMedia) -> tuple[bytes, AsyncGenerator[bytes, None]]:
        parts, perceived = hear_along(gateway.perceiver, admitted, param, options)
        events = transcript_events(
            parts, perceived, segments=verbose, words=verbose and "word" in wanted.timestamp_granularities
        )
        return await anext(events), events

    def count(error: Exception) -> None:
        gateway.metrics.count_error(error_parts(error)[3])

    first, events = await unless_gone(request, gateway.admission.use(bring, begin))
    stall = gateway.config.limits.stall_timeout_seconds
    return EventStream(first, events, stall_timeout_seconds=stall, on_error=count)


def _source(admission: Admission, tenant: str, form: FormData, file_id: str | None) -> tuple[_Bring, str]:
    """Where the sound comes from, and the field that says so: ``file``, or our ``file_id`` of a stored one."""
    if file_id is None:
        upload = uploaded_file(form, "file")
        return lambda anew: admission.from_file(
            tenant, upload.file, upload.filename, _HEARABLE, "file", anew=anew
        ), "file"
    if "file" in form:
        raise InvalidRequest("Send exactly one of 'file' and 'file_id'.", "file_id")
    return lambda _: admission.from_id(tenant, file_id, _HEARABLE, "file_id"), "file_id"


def _fields(form: FormData) -> dict[str, Any]:
    """The form's text fields; lists are written ``name[]`` by the official clients, objects ``name[field]`` or as
    JSON.
    """
    fields: dict[str, Any] = {}
    nested: dict[str, Any] = {}
    for key in form:
        name = key.removesuffix("[]")
        if key == "file":
            continue
        values = form.getlist(key)
        if (inside := _NESTED.fullmatch(key)) is not None:
            nested[inside[1]] = values[-1]
        else:
            fields[name] = values if name in _LISTS else values[-1]
    chunking = fields.get("chunking_strategy")
    if isinstance(chunking, str) and chunking.startswith("{"):
        fields["chunking_strategy"] = decode_json(chunking.encode("utf-8", "surrogatepass"))
    elif nested:
        fields["chunking_strategy"] = nested
    return fields
