"""Wire schema of errors, OpenAI's, and the words for what pydantic found wrong with a request."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from pydantic import BaseModel

__all__ = [
    "ErrorBody",
    "ErrorDetail",
    "error_bytes",
    "field_path",
    "parameter_path",
    "validation_message",
]


class ErrorDetail(BaseModel):
    """What went wrong, of which type, in which field, with which code."""

    message: str
    type: str
    param: str | None
    code: str | None


class ErrorBody(BaseModel):
    """The body of every error answer."""

    error: ErrorDetail


def error_bytes(message: str, type_: str, param: str | None, code: str | None) -> bytes:
    """The JSON of an ``ErrorBody``."""
    return msgspec.json.encode({"error": {"message": message, "type": type_, "param": param, "code": code}})


def field_path(location: Sequence[int | str], body: Any, *, missing: bool = False) -> str | None:
    """A pydantic location as OpenAI writes it: ``messages[0].content[1].image_url``.

    Pydantic puts the names of union branches into the location; only steps that exist in the body are kept,
    and the last one when it is the field that is ``missing``.
    """
    return _resolve(tuple(location), body, missing)[1] or None


def parameter_path(location: Sequence[int | str]) -> str | None:
    """The location of a parameter of the path or of the query string: ``size``, ``include[0]``."""
    name, *steps = location or ("",)
    return f"{name}" + "".join(f"[{step}]" for step in steps if isinstance(step, int)) or None


def _resolve(location: tuple[int | str, ...], here: Any, missing: bool) -> tuple[tuple[bool, int], str]:
    """How well a location fits (is its last step in the body, how many steps are), and the path it means.

    A branch may be named like a field of the body (part type ``image_url`` has a field ``image_url``), so
    each step is tried both as a field and as a branch's name; the best fit wins.
    """
    if not location:
        return (True, 0), ""
    step, rest = location[0], location[1:]
    (ends, steps), path = _resolve(rest, here, missing)
    best = ((ends and bool(rest), steps), path)
    known = _has(here, step)
    if known or (missing and not rest and isinstance(here, Mapping)):
        (ends, steps), path = _resolve(rest, here[step] if known else None, missing)
        dot = "" if not path or path.startswith("[") else "."
        name = f"[{step}]" if isinstance(step, int) else step
        best = max(best, ((ends, steps + 1), f"{name}{dot}{path}"), key=lambda fit: fit[0])
    return best


def _has(here: Any, step: int | str) -> bool:
    if isinstance(step, int):
        return isinstance(here, list) and step < len(here)
    return isinstance(here, Mapping) and step in here


def validation_message(error: Mapping[str, Any], path: str | None) -> tuple[str, str]:
    """A sentence and a code for one pydantic error. The client's value is never repeated: it may be
    megabytes.
    """
    kind = error["type"]
    context = error.get("ctx", {})
    where = f" for '{path}'" if path else ""
    if kind == "extra_forbidden":
        return f"Unrecognized request argument supplied: {path}", "unknown_parameter"
    if kind == "missing":
        return f"Missing required parameter: '{path}'.", "missing_required_parameter"
    if kind == "union_tag_not_found":
        tag = str(context.get("discriminator", "type")).strip("'")
        return f"Missing required parameter: '{path}.{tag}'.", "missing_required_parameter"
    if kind in ("union_tag_invalid", "literal_error", "enum"):
        supported = context.get("expected_tags") or context.get("expected")
        return f"Invalid value{where}. Supported values are: {supported}.", "invalid_value"
    if kind.endswith("_type"):
        return f"Invalid type{where}: {_lower(error['msg'])}.", "invalid_type"
    return f"Invalid value{where}: {_lower(error['msg'])}.", "invalid_value"


def _lower(text: str) -> str:
    return text[:1].lower() + text[1:]
