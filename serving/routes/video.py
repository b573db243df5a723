"""``POST /v1/video/analyze``."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import msgspec
from fastapi import APIRouter, Request
from starlette.responses import Response

from encoders.types import MediaKind
from fusion.types import PerceivedMedium
from serving import origin
from serving.admission import AdmittedMedia
from serving.auth import CurrentTenant
from serving.chat import PreparedChat
from serving.disconnect import unless_gone
from serving.gateway import gateway_of
from serving.medium_question import as_asked, medium_source, prepare_question
from serving.perceive_options import PerceiveOptions
from serving.protocol.understanding import VideoAnalysis, VideoAnalysisRequest
from serving.routes.answers import streamed_chat
from serving.routes.body import json_schema, read_either

__all__ = ["router"]

router = APIRouter()

_VIDEO = frozenset({MediaKind.VIDEO})


@router.post(
    "/v1/video/analyze",
    response_model=None,
    responses={200: {"model": VideoAnalysis}},
    openapi_extra=json_schema(VideoAnalysisRequest, "video_file"),
)
async def analyze_video(request: Request, tenant: CurrentTenant) -> Response:
    """An answer about a video from frames chosen as asked, and from what is said in it.

    With ``stream`` the answer comes as chat's stream does, its last chunk with ``usage``.
    """
    gateway = gateway_of(request)
    origin.brings("video")
    async with read_either(request, VideoAnalysisRequest, "video_file") as (wanted, upload):
        source = medium_source(
            gateway.admission,
            tenant,
            _VIDEO,
            file=("video_file", upload),
            url=("video_url", wanted.video_url),
            file_id=wanted.file_id,
        )
        sampling = replace(
            gateway.config.sampling, method=wanted.frame_sampling, max_frames=wanted.max_frames
        )

        async def prepare(admitted: AdmittedMedia) -> PreparedChat:
            options = PerceiveOptions(sampling=sampling)
            return await prepare_question(
                gateway.chat, tenant, admitted, source.param, wanted, wanted.prompt, options
            )

        prepared = await unless_gone(request, gateway.admission.use(source.bring, prepare))
    with as_asked(source.param):
        if wanted.stream:
            return await streamed_chat(request, gateway, prepared)
        answer = await unless_gone(request, gateway.chat.complete(prepared, request.state.request_id))
    seen = prepared.perceived[0].medium
    return Response(
        msgspec.json.encode(_analysis(msgspec.json.decode(answer), seen)), media_type="application/json"
    )


def _analysis(chat: dict[str, Any], seen: PerceivedMedium) -> dict[str, Any]:
    """``VideoAnalysis`` out of a chat's answer about one video."""
    choice, (video,) = chat["choices"][0], chat["manymodal"]["media"]
    return {
        "id": chat["id"],
        "object": "video.analysis",
        "created": chat["created"],
        "model": chat["model"],
        "video_id": video["id"],
        "duration_seconds": seen.duration_seconds,
        "answer": choice["message"]["content"] or "",
        "finish_reason": choice["finish_reason"],
        "frames": video.get("frames", []),
        "seconds_heard": video.get("seconds_heard", 0.0),
        "usage": chat["usage"],
        "manymodal": chat["manymodal"],
    }
