"""From request bytes to a wire model, with OpenAI-shaped errors for all that can be wrong."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

import msgspec
from pydantic import BaseModel, ValidationError

from serving.errors import InvalidRequest
from serving.protocol.errors import field_path, validation_message

__all__ = ["decode_json", "validated"]

Model = TypeVar("Model", bound=BaseModel)


def decode_json(body: bytes) -> dict[str, Any]:
    """Decode a JSON object strictly (no NaN, no lone surrogates, no bottomless nesting)."""
    if not body.strip():
        raise InvalidRequest("The request body is empty; a JSON object was expected.", None, "empty_body")
    try:
        decoded = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidRequest(
            "We could not parse the JSON body of your request. It is not valid JSON.", None, "invalid_json"
        ) from error
    except RecursionError as error:
        raise InvalidRequest("The JSON body is nested too deeply.", None, "invalid_json") from error
    if not isinstance(decoded, dict):
        raise InvalidRequest("The request body must be a JSON object.", None, "invalid_json")
    return decoded


def validated(model: type[Model], raw: Any, *, strings: bool = False) -> Model:
    """``raw`` as ``model``, or ``InvalidRequest`` naming the deepest field that is wrong.

    With ``strings`` every value is text, as forms have it, also where the model wants a number or a truth value.
    """
    try:
        return model.model_validate_strings(raw) if strings else model.model_validate(raw)
    except ValidationError as error:
        problems = error.errors(include_url=False, include_input=False)
        # A union reports one error per branch; the one that reaches deepest is about what the client meant.
        located = [
            (field_path(problem["loc"], raw, missing=problem["type"] == "missing"), problem)
            for problem in problems
        ]
        path, problem = max(located, key=lambda pair: (_depth(pair[0]), _clarity(pair[1])))
        message, code = validation_message(problem, path)
        raise InvalidRequest(message, path, code) from None


def _depth(path: str | None) -> int:
    return path.count(".") + path.count("[") + 1 if path else 0


def _clarity(problem: Mapping[str, Any]) -> int:
    """Of equally deep errors the one that says most: what kind of thing is wanted says more than what it lacks,
    that another branch wants another type says least.
    """
    kind = problem["type"]
    if kind == "literal_error":
        return 3 if problem["loc"][-1] == "type" else 1
    return 0 if kind.endswith("_type") else 2
