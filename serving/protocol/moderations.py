"""Wire schema of ``POST /v1/moderations``."""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeAlias, TypeVar

from pydantic import BaseModel, ConfigDict, Field, StrictStr
from typing_extensions import TypedDict

__all__ = [
    "ModerationAnswer",
    "ModerationImage",
    "ModerationRequest",
    "ModerationResult",
    "ModerationText",
]

Kind = TypeVar("Kind")
_AtFirstFault: TypeAlias = Annotated[Kind, Field(fail_fast=True)]
InputType = Literal["text", "image"]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")


class ModerationText(_Strict):
    """A piece of text."""

    type: Literal["text"]
    text: StrictStr


class ModerationImageUrl(_Strict):
    """A ``data:`` URL, an http(s) URL or the id of a file."""

    url: Annotated[StrictStr, Field(min_length=1)]


class ModerationImage(_Strict):
    """A picture."""

    type: Literal["image_url"]
    image_url: ModerationImageUrl


Part = Annotated[ModerationText | ModerationImage, Field(discriminator="type")]


class ModerationRequest(_Strict):
    """OpenAI's request: one text, several texts that are judged each, or parts that are judged together."""

    input: StrictStr | _AtFirstFault[list[StrictStr]] | _AtFirstFault[list[Part]]
    model: StrictStr = "omni-moderation-latest"


Categories = TypedDict(
    "Categories",
    {
        "harassment": bool,
        "harassment/threatening": bool,
        "hate": bool,
        "hate/threatening": bool,
        "illicit": bool,
        "illicit/violent": bool,
        "self-harm": bool,
        "self-harm/instructions": bool,
        "self-harm/intent": bool,
        "sexual": bool,
        "sexual/minors": bool,
        "violence": bool,
        "violence/graphic": bool,
    },
)

Scores = TypedDict(
    "Scores",
    {
        "harassment": float,
        "harassment/threatening": float,
        "hate": float,
        "hate/threatening": float,
        "illicit": float,
        "illicit/violent": float,
        "self-harm": float,
        "self-harm/instructions": float,
        "self-harm/intent": float,
        "sexual": float,
        "sexual/minors": float,
        "violence": float,
        "violence/graphic": float,
    },
)

InputTypes = TypedDict(
    "InputTypes",
    {
        "harassment": list[InputType],
        "harassment/threatening": list[InputType],
        "hate": list[InputType],
        "hate/threatening": list[InputType],
        "illicit": list[InputType],
        "illicit/violent": list[InputType],
        "self-harm": list[InputType],
        "self-harm/instructions": list[InputType],
        "self-harm/intent": list[InputType],
        "sexual": list[InputType],
        "sexual/minors": list[InputType],
        "violence": list[InputType],
        "violence/graphic": list[InputType],
    },
)


class ModerationResult(BaseModel):
    """What was found in one input. A category without applied input types was not judged, and scores 0."""

    flagged: bool
    categories: Categories
    category_scores: Scores
    category_applied_input_types: InputTypes


class ModerationAnswer(BaseModel):
    """One result for each text, or one for all parts. ``manymodal`` has what the models found besides."""

    id: str
    model: str
    results: list[ModerationResult]
    manymodal: dict[str, Any]
