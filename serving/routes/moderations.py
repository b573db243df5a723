"""``POST /v1/moderations``."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

from fastapi import APIRouter, Request

from encoders.moderation import ModerationScores
from encoders.types import MediaKind
from serving import origin
from serving.admission import AdmittedMedia
from serving.auth import CurrentTenant
from serving.catalogue import ModelCatalogue, ServedModel
from serving.concurrency import all_of
from serving.config import RequestLimits
from serving.disconnect import unless_gone
from serving.errors import InvalidRequest, LimitExceeded, NotOffered
from serving.gateway import Gateway, gateway_of
from serving.moderation.results import other_scores, result_of
from serving.protocol.moderations import ModerationAnswer, ModerationRequest, ModerationText
from serving.routes.body import json_schema, read_model

__all__ = ["router"]

router = APIRouter()

_IMAGE = frozenset({MediaKind.IMAGE})
_TEXT_ONLY = "text-moderation-"  # how the names of OpenAI's models for texts alone begin


@dataclass(frozen=True, slots=True)
class _Part:
    """A text, or a picture by reference, and the input that it belongs to."""

    input: int
    kind: str
    content: str
    param: str


@router.post("/v1/moderations", openapi_extra=json_schema(ModerationRequest))
async def create_moderation(request: Request, tenant: CurrentTenant) -> ModerationAnswer:
    """OpenAI's moderation of texts and pictures. What the served models cannot tell has no applied input types."""
    gateway = gateway_of(request)
    wanted = await read_model(request, ModerationRequest)
    judges = _judges(gateway.catalogue, wanted.model)
    parts = _parts(wanted)
    _check(parts, judges, wanted.model, gateway.config.limits)
    seen = sorted({part.kind for part in parts})
    origin.brings(seen[0] if len(seen) == 1 else "mixed")
    with gateway.metrics.time_stage("moderate"):
        found = await unless_gone(request, _scores(gateway, tenant, parts))
    policy = (await gateway.tenants.settings(tenant)).moderation
    results, others = [], []
    for _, group in groupby(zip(parts, found, strict=True), key=lambda pair: pair[0].input):
        pairs = list(group)
        kinds = sorted({part.kind for part, _ in pairs})
        scores = ModerationScores.highest(one for _, one in pairs)
        results.append(result_of(scores, {kind: judges[kind] for kind in kinds}, policy))
        others.append(other_scores(scores))
    return ModerationAnswer(
        id=f"modr-{secrets.token_hex(16)}",
        model="+".join(judges[kind].name for kind in reversed(seen)),
        results=results,
        manymodal={"other_scores": others},
    )


def _judges(catalogue: ModelCatalogue, name: str) -> Mapping[str, ServedModel]:
    """The models that ``name`` means, by what they judge: both for OpenAI's names, a model's own for itself."""
    text, image = catalogue.moderation_text, catalogue.moderation_image
    served = {kind: model for kind, model in (("text", text), ("image", image)) if model is not None}
    if not served:
        raise NotOffered("No model for moderation is served (encoders.moderation_text, moderation_image).")
    own = {kind: model for kind, model in served.items() if name == model.name}
    if own:
        return own
    catalogue.check(next(iter(served.values())), name)
    if name.startswith(_TEXT_ONLY):
        return {kind: model for kind, model in served.items() if kind == "text"}
    return served


def _parts(wanted: ModerationRequest) -> list[_Part]:
    given = [wanted.input] if isinstance(wanted.input, str) else wanted.input
    parts: list[_Part] = []
    for index, part in enumerate(given):
        param = "input" if isinstance(wanted.input, str) else f"input[{index}]"
        if isinstance(part, str):
            parts.append(_Part(index, "text", part, param))
        elif isinstance(part, ModerationText):
            parts.append(_Part(0, "text", part.text, param))
        else:
            parts.append(_Part(0, "image", part.image_url.url, f"{param}.image_url.url"))
    return parts


def _check(
    parts: Sequence[_Part], judges: Mapping[str, ServedModel], model: str, limits: RequestLimits
) -> None:
    if not parts:
        raise InvalidRequest("'input' cannot be an empty list.", "input")
    texts = [part for part in parts if part.kind == "text"]
    for count, what, limit, name in (
        (len(parts), "parts", limits.max_embedding_inputs, "max_embedding_inputs"),
        (len(parts) - len(texts), "pictures", limits.max_media_per_request, "max_media_per_request"),
        (
            sum(len(part.content) for part in texts),
            "characters",
            limits.max_text_characters,
            "max_text_characters",
        ),
    ):
        if count > limit:
            raise LimitExceeded(f"'input' holds {count} {what}; at most {limit} ({name}) are taken.", "input")
    for part in parts:
        if part.kind not in judges:
            kinds = {"text": "texts", "image": "pictures"}
            raise InvalidRequest(
                f"The model '{model[:100]}' does not judge {kinds[part.kind]} on this server.", part.param
            )


async def _scores(gateway: Gateway, tenant: str, parts: Sequence[_Part]) -> list[ModerationScores]:
    """Scores of each part: the texts in one call, the pictures side by side."""
    admission, scoring = gateway.admission, gateway.scoring

    async def of_texts() -> list[ModerationScores]:
        texts = [part.content for part in parts if part.kind == "text"]
        return await scoring.texts(tenant, texts) if texts else []

    async def of_picture(part: _Part) -> list[ModerationScores]:
        async def judge(admitted: AdmittedMedia) -> ModerationScores:
            return await scoring.medium(admitted.record.ref, admitted.info)

        judged = await admission.use(
            lambda anew: admission.from_reference(tenant, part.content, _IMAGE, part.param, anew=anew), judge
        )
        return [judged]

    texts, *pictures = await all_of((of_texts(), *(of_picture(p) for p in parts if p.kind == "image")))
    left = {"text": iter(texts), "image": iter([one for some in pictures for one in some])}
    return [next(left[part.kind]) for part in parts]
