"""``POST /v1/audio/speech``."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing

import msgspec
import pybase64
from fastapi import APIRouter, Request
from starlette.responses import Response

from encoders.speech.sound_writer import FORMS
from encoders.types import SpeakOptions, Spoken
from serving import origin
from serving.auth import CurrentTenant
from serving.catalogue import ServedModel
from serving.disconnect import unless_gone
from serving.error_handlers import error_parts
from serving.errors import InvalidRequest, NotOffered, PerceptionTimeout
from serving.event_stream import EventStream
from serving.gateway import Gateway, gateway_of
from serving.openapi import bytes_answer, reference
from serving.patience import patience
from serving.protocol.speech import SpeechEvent, SpeechRequest
from serving.refusals import naming
from serving.routes.body import json_schema, read_model

__all__ = ["router"]

router = APIRouter()

# OpenAI's names, which its clients must send: the platform's voice speaks for all of them.
_BUILT_IN_VOICES = frozenset(
    (
        "alloy",
        "ash",
        "ballad",
        "cedar",
        "coral",
        "echo",
        "fable",
        "marin",
        "nova",
        "onyx",
        "sage",
        "shimmer",
        "verse",
    )
)

_ANSWERS = bytes_answer("application/octet-stream")
_ANSWERS[200]["content"]["text/event-stream"] = {"schema": reference(SpeechEvent)}


@router.post(
    "/v1/audio/speech",
    response_class=Response,
    responses=_ANSWERS,
    openapi_extra=json_schema(SpeechRequest),
)
async def create_speech(request: Request, tenant: CurrentTenant) -> Response:
    """OpenAI's text to speech: the sound comes while it is being made."""
    gateway = gateway_of(request)
    origin.brings("audio")
    wanted = await read_model(request, SpeechRequest)
    model = _voice(gateway)
    gateway.catalogue.check(model, wanted.model)
    _check_voice(model, wanted.voice_name)
    if not wanted.input.strip():
        raise InvalidRequest("'input' cannot be an empty string.", "input")
    options = SpeakOptions(wanted.input, wanted.speed, wanted.response_format)
    as_events = wanted.stream_format == "sse"
    spoken = gateway.services.perception.speak(options)
    pieces = _events(spoken) if as_events else _bytes(spoken)

    async def begin() -> bytes:
        try:
            # Tenants take turns at the voice until it has begun to say their texts.
            async with (
                patience(gateway.config.limits.perception_timeout_seconds),
                gateway.perceiver.tasks.voice.turn(tenant),
            ):
                with naming("input"):
                    return await anext(pieces)
        except TimeoutError as error:
            raise PerceptionTimeout(
                "The voice is busy with other texts. Please try again shortly."
            ) from error

    def count(error: Exception) -> None:
        gateway.metrics.count_error(error_parts(error)[3])

    first = await unless_gone(request, begin())
    return EventStream(
        first,
        pieces,
        stall_timeout_seconds=gateway.config.limits.stall_timeout_seconds,
        on_error=count,
        media_type="text/event-stream" if as_events else FORMS[wanted.response_format].content_type,
    )


def _voice(gateway: Gateway) -> ServedModel:
    model = gateway.catalogue.voice
    if model is None:
        raise NotOffered("This server has no voice: the operator has set none (encoders.voice).")
    return model


def _check_voice(model: ServedModel, name: str) -> None:
    own: tuple[str, ...] = () if model.spec is None else tuple(model.spec.extra.get("voices", ()))
    if name not in own and name not in _BUILT_IN_VOICES:
        raise InvalidRequest(
            f"There is no voice '{name}'. The voices are: {', '.join(own)}; OpenAI's names mean the first of them.",
            "voice",
        )


async def _bytes(spoken: AsyncGenerator[bytes | Spoken, None]) -> AsyncGenerator[bytes, None]:
    async with aclosing(spoken):
        async for piece in spoken:
            if isinstance(piece, bytes) and piece:
                yield piece


async def _events(spoken: AsyncGenerator[bytes | Spoken, None]) -> AsyncGenerator[bytes, None]:
    async with aclosing(spoken):
        async for piece in spoken:
            if isinstance(piece, Spoken):
                read, made = piece.input_tokens, piece.output_tokens
                usage = {"input_tokens": read, "output_tokens": made, "total_tokens": read + made}
                yield _event({"type": "speech.audio.done", "usage": usage})
            elif piece:
                yield _event({"type": "speech.audio.delta", "audio": pybase64.b64encode_as_string(piece)})


def _event(body: dict[str, object]) -> bytes:
    return b"data: " + msgspec.json.encode(body) + b"\n\n"
