"""Wire schema of ``POST /v1/embeddings``."""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias, TypeVar

from pydantic import BaseModel, ConfigDict, Field, StrictInt, StrictStr

from serving.protocol.chat import Part

__all__ = ["Embedding", "EmbeddingLine", "EmbeddingList", "EmbeddingRequest", "EmbeddingUsage"]

Kind = TypeVar("Kind")

# Else every number of a long token array is a fault with words of its own, a gigabyte for a megabyte.
_AtFirstFault: TypeAlias = Annotated[Kind, Field(fail_fast=True)]


class EmbeddingRequest(BaseModel):
    """OpenAI's request; inputs may also be the content parts of chat, so that media get vectors as texts do, and
    lists of such parts and texts, which get one vector together.

    Token arrays are of the served text model's own tokenizer, see ``serving.token_arrays``.
    """

    model_config = ConfigDict(extra="forbid")
    input: (
        StrictStr
        | _AtFirstFault[list[StrictStr]]
        | _AtFirstFault[list[StrictStr | Part | _AtFirstFault[list[StrictStr | Part]]]]
        | _AtFirstFault[list[StrictInt]]
        | _AtFirstFault[list[_AtFirstFault[list[StrictInt]]]]
    )
    model: StrictStr
    encoding_format: Literal["float", "base64"] = "float"
    dimensions: Annotated[StrictInt, Field(ge=1)] | None = None
    user: StrictStr | None = None


class EmbeddingLine(BaseModel):
    """One line of a stream of texts (``application/x-ndjson``): a text of any length, and an id to know it by."""

    model_config = ConfigDict(extra="forbid")
    input: StrictStr
    id: Annotated[StrictStr, Field(max_length=128)] | StrictInt | None = None


class Embedding(BaseModel):
    """One vector: numbers, or base64 of little-endian float32."""

    object: Literal["embedding"] = "embedding"
    index: int
    embedding: list[float] | str


class EmbeddingUsage(BaseModel):
    """Tokens the encoder read."""

    prompt_tokens: int
    total_tokens: int


class EmbeddingList(BaseModel):
    """The answer, in input order."""

    object: Literal["list"] = "list"
    data: list[Embedding]
    model: str
    usage: EmbeddingUsage
