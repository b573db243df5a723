"""``POST /v1/audio/transcriptions``."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeAlias

import msgspec
from fastapi import APIRouter, Request
from starlette.datastructures import FormData
from starlette.responses import Response

from encoders.types import MediaKind, TranscribeOptions, Transcript
from serving.admission import Admission, AdmittedMedia
from serving.auth import CurrentTenant
from serving.disconnect import unless_gone
from serving.errors import InvalidRequest
from serving.gateway import gateway_of
from serving.hearing import hear
from serving.languages import checked_language
from serving.media_report import media_used
from serving.perceiver import Perceived
from serving.protocol.audio import TranscriptionRequest, plain_json, verbose_json
from serving.protocol.parse import validated
from serving.routes.body import open_form, uploaded_file
from serving.subtitles import srt, vtt

__all__ = ["router"]

router = APIRouter()

_Bring: TypeAlias = Callable[[bool], Awaitable[AdmittedMedia]]

_HEARABLE = frozenset({MediaKind.AUDIO, MediaKind.VIDEO})
_LISTS = {"timestamp_granularities", "include", "known_speaker_names", "known_speaker_references"}
# OpenAI's fields for other models than Whisper; accepted, as OpenAI does, and without effect.
_IGNORED = {"include", "chunking_strategy", "known_speaker_names", "known_speaker_references"}


@router.post("/v1/audio/transcriptions")
async def create_transcription(request: Request, tenant: CurrentTenant) -> Response:
    """OpenAI's transcription of a sound file, or of the sound of a video."""
    gateway = gateway_of(request)
    request.state.modality = "audio"
    async with open_form(request) as form:
        wanted = validated(TranscriptionRequest, _fields(form))
        gateway.catalogue.check(gateway.catalogue.speech, wanted.model)
        language = checked_language(wanted.language)
        if wanted.timestamp_granularities != ["segment"] and wanted.response_format != "verbose_json":
            raise InvalidRequest(
                "'timestamp_granularities' needs 'response_format' to be 'verbose_json'.",
                "timestamp_granularities",
            )
        bring, param = _source(gateway.admission, tenant, form, wanted.file_id)
        options = TranscribeOptions(language, wanted.prompt or None, wanted.temperature)
        work = gateway.admission.use(
            bring, lambda admitted: hear(gateway.perceiver, admitted, param, options)
        )
        transcript, used = await unless_gone(request, work)
    return await asyncio.to_thread(_written, wanted, transcript, used)  # hours of speech take a while


def _written(wanted: TranscriptionRequest, transcript: Transcript, used: Perceived) -> Response:
    """The transcript in the form that was asked for."""
    match wanted.response_format:
        case "text":
            return Response(transcript.text + "\n", media_type="text/plain")
        case "srt":
            return Response(srt(transcript), media_type="application/x-subrip; charset=utf-8")
        case "vtt":
            return Response(vtt(transcript), media_type="text/vtt")
        case "verbose_json":
            body = verbose_json(transcript, frozenset(wanted.timestamp_granularities))
        case _:
            body = plain_json(transcript)
    return Response(
        msgspec.json.encode({**body, "manymodal": media_used([used])}), media_type="application/json"
    )


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
    """The form's text fields; lists are written ``name[]`` by the official clients."""
    fields: dict[str, Any] = {}
    for key in form:
        name = key.removesuffix("[]")
        if key == "file" or name in _IGNORED:
            continue
        values = form.getlist(key)
        fields[name] = values if name in _LISTS else values[-1]
    return fields
