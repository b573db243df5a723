"""Wire schema of tools, of calls to them, and of the form an answer must have: what chat requests say of JSON."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictStr

__all__ = [
    "AllowedToolsChoice",
    "FunctionDefinition",
    "FunctionTool",
    "NamedToolChoice",
    "ResponseFormat",
    "ToolCall",
    "ToolChoice",
]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")


_Name = Annotated[StrictStr, Field(pattern=r"^[a-zA-Z0-9_-]{1,64}$")]


class FunctionDefinition(_Strict):
    """What the model may call. ``parameters`` is a JSON schema; left out, there are none."""

    name: _Name
    description: StrictStr | None = None
    parameters: dict[str, Any] | None = None
    strict: StrictBool | None = None


class FunctionTool(_Strict):
    """A function as a tool. OpenAI's ``custom`` tools are not offered."""

    type: Literal["function"]
    function: FunctionDefinition


class FunctionName(_Strict):
    """Which function."""

    name: _Name


class NamedToolChoice(_Strict):
    """The model must call this function."""

    type: Literal["function"]
    function: FunctionName


class AllowedTools(_Strict):
    """Some of the request's tools, and whether one of them must be called."""

    mode: Literal["auto", "required"]
    tools: Annotated[list[NamedToolChoice], Field(min_length=1, max_length=128, fail_fast=True)]


class AllowedToolsChoice(_Strict):
    """The model may call only some of the request's tools."""

    type: Literal["allowed_tools"]
    allowed_tools: AllowedTools


ToolChoice = (
    Literal["none", "auto", "required"]
    | Annotated[NamedToolChoice | AllowedToolsChoice, Field(discriminator="type")]
)


class CalledFunction(_Strict):
    """``arguments`` are JSON as the model wrote it, which may be wrong."""

    name: StrictStr
    arguments: StrictStr


class ToolCall(_Strict):
    """A call that the model made earlier."""

    id: Annotated[StrictStr, Field(min_length=1, max_length=256)]
    type: Literal["function"]
    function: CalledFunction


class TextFormat(_Strict):
    """Plain text."""

    type: Literal["text"]


class JsonObjectFormat(_Strict):
    """Some JSON object."""

    type: Literal["json_object"]


class JsonSchema(BaseModel):
    """A schema that the answer follows. Without ``schema`` it is some JSON object."""

    model_config = ConfigDict(extra="forbid", protected_namespaces=(), validate_by_name=False)
    name: _Name
    description: StrictStr | None = None
    json_schema: dict[str, Any] | None = Field(default=None, alias="schema")
    strict: StrictBool | None = None


class JsonSchemaFormat(_Strict):
    """JSON after a schema."""

    type: Literal["json_schema"]
    json_schema: JsonSchema


ResponseFormat = Annotated[TextFormat | JsonObjectFormat | JsonSchemaFormat, Field(discriminator="type")]
"""The answer's form. Other types of the engine (structural tags, grammars) are not part of OpenAI's API."""
