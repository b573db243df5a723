"""From request bytes to a wire model, with OpenAI-shaped errors for all that can be wrong."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

import msgspec
from pydantic import BaseModel, ValidationError

from serving.errors import InvalidRequest
from serving.protocol.errors import field_path, validation_message

__all__ = ["MAX_VALUES", "decode_json", "validated"]

Model = TypeVar("Model", bound=BaseModel)


MAX_VALUES = 50_000
"""Fields, texts, lists and objects in one body. Numbers in lists (tokens, vectors) are not counted."""

_MAX_DEPTH = 64
_FEW = 2_000  # commas and brackets that are not worth a look


def decode_json(body: bytes, max_values: int = MAX_VALUES) -> dict[str, Any]:
    """Decode a JSON object strictly (no NaN, no lone surrogates, no bottomless nesting).

    At most ``max_values`` are in it (``MAX_VALUES`` says of what): checking each costs a hundred times what sending
    it does.
    """
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
    if body.count(b",") > _FEW or body.count(b"[") + body.count(b"{") > _MAX_DEPTH:
        _check_size(decoded, max_values)
    return decoded


def _check_size(decoded: dict[str, Any], max_values: int) -> None:
    level: list[Any] = [decoded]
    values = depth = 0
    while level:
        depth += 1
        if depth > _MAX_DEPTH:
            raise InvalidRequest(
                f"The JSON body is nested too deeply: at most {_MAX_DEPTH} levels are read.",
                None,
                "invalid_json",
            )
        below: list[Any] = []
        for one in level:
            counted = list(one.values()) if isinstance(one, dict) else [x for x in one if type(x) in _COUNTED]
            values += len(counted)
            if values > max_values:
                raise InvalidRequest(
                    f"The JSON body holds too many fields and items: at most {max_values} are read.",
                    None,
                    "invalid_json",
                )
            below += [x for x in counted if isinstance(x, dict | list)]
        level = below


_COUNTED = frozenset({dict, list, str, bool, type(None)})


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
