"""JSON schemas that clients send, held against the rules OpenAI has for them before the engine compiles them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from serving.errors import InvalidRequest
from serving.schema_patterns import PatternTooCostly, check_pattern

__all__ = ["check_schema"]

_TYPES = frozenset({"string", "number", "integer", "boolean", "object", "array", "null"})
_MAPS = ("properties", "patternProperties", "$defs", "definitions", "dependentSchemas")
_LISTS = ("anyOf", "oneOf", "allOf", "prefixItems")
_SINGLE = ("items", "additionalProperties", "not", "if", "then", "else", "contains", "propertyNames")
# Structured Outputs, "Supported schemas": what strict schemas may not hold, and how large they may be.
_NOT_STRICT = ("allOf", "not", "dependentRequired", "dependentSchemas", "if", "then", "else")
_MAX_STRICT_PROPERTIES = 5000
_MAX_STRICT_DEPTH = 10
_MAX_SCHEMAS = 20_000
_MAX_CHARACTERS = (
    120_000  # of names and of values that are given; more keeps the engine's compiler busy for minutes
)

# The engine's compiler takes time with the square of how many properties of one object may be left out: half a
# second for so many.
_MAX_OPTIONAL_PROPERTIES = 500
_MAX_OPTIONAL_SQUARES = _MAX_OPTIONAL_PROPERTIES**2
_MAX_PATTERNS = 50
_MAX_COUNT = 100_000
_COUNTS = ("minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties")

_Place = tuple[str, ...]


class _Wrong(Exception):
    """What is wrong, and where in the schema."""


def check_schema(schema: Mapping[str, Any], what: str, param: str, code: str, *, strict: bool) -> None:
    """Raise ``InvalidRequest`` unless ``schema`` is one; with ``strict`` also one of OpenAI's strict subset.

    ``what`` names it in the error: ``response_format 'answer'``. Takes time in proportion to its size. Words that
    are not known mean nothing, as in JSON Schema. OpenAI's 120,000 characters bound all schemas, strict or not.
    """
    try:
        if strict:
            _check_strict_root(schema)
        properties = characters = patterns = optional_squares = 0
        for schemas, (place, depth, one) in enumerate(_walk(schema)):
            properties += _check(place, one)
            characters += _characters(one)
            patterns += _check_costs(place, one)
            optional_squares += len(set(one.get("properties", ())) - set(one.get("required", ()))) ** 2
            if strict:
                _check_strict(place, depth, one)
            if (
                schemas > _MAX_SCHEMAS
                or characters > _MAX_CHARACTERS
                or patterns > _MAX_PATTERNS
                or (strict and properties > _MAX_STRICT_PROPERTIES)
            ):
                raise _Wrong("the schema is too large.")
            if optional_squares > _MAX_OPTIONAL_SQUARES:
                raise _Wrong(
                    f"the schema is too large: more than {_MAX_OPTIONAL_PROPERTIES} properties are not in "
                    "'required'."
                )
    except _Wrong as wrong:
        raise InvalidRequest(f"Invalid schema for {what}: {wrong}", param, code) from None


def _walk(schema: Mapping[str, Any]) -> Iterator[tuple[_Place, int, Mapping[str, Any]]]:
    """Every schema within ``schema``, where it stands and how many objects and arrays it lies in."""
    waiting: list[tuple[_Place, int, Any]] = [((), 1, schema)]
    while waiting:
        place, depth, one = waiting.pop()
        if isinstance(one, bool):
            continue
        if not isinstance(one, Mapping):
            raise _Wrong(f"{_context(place)}a schema must be an object or a boolean.")
        yield place, depth, one
        for word in _MAPS:
            for name, inner in one.get(word, {}).items():
                waiting.append(((*place, word, name), depth + (word == "properties"), inner))
        for word in _LISTS:
            waiting.extend(
                ((*place, word, str(n)), depth, inner) for n, inner in enumerate(one.get(word, ()))
            )
        waiting.extend(
            ((*place, word), depth + (word == "items"), one[word]) for word in _SINGLE if word in one
        )


def _check(place: _Place, schema: Mapping[str, Any]) -> int:
    """Hold one schema's own words against JSON Schema; how many properties it has."""
    kinds = schema.get("type")
    for kind in kinds if isinstance(kinds, list) else [kinds] if "type" in schema else []:
        if not isinstance(kind, str) or kind not in _TYPES:
            raise _Wrong(f"{_context(place)}'type' must be one of {', '.join(sorted(_TYPES))}.")
    for word in _MAPS:
        if not isinstance(schema.get(word, {}), Mapping):
            raise _Wrong(f"{_context(place)}'{word}' must be an object.")
    for word in (*_LISTS, "enum", "required"):
        if not isinstance(schema.get(word, []), list):
            raise _Wrong(f"{_context(place)}'{word}' must be an array.")
    if not all(isinstance(name, str) for name in schema.get("required", ())):
        raise _Wrong(f"{_context(place)}'required' must hold names of properties.")
    reference = schema.get("$ref", "#")
    if not isinstance(reference, str) or not reference.startswith("#"):
        raise _Wrong(f"{_context(place)}'$ref' must point into the schema itself ('#/...').")
    if not place and "$ref" in schema and reference in ("#", "#/"):
        raise _Wrong("'$ref' must not make the schema itself its own beginning.")
    return len(schema.get("properties", {}))


def _check_costs(place: _Place, schema: Mapping[str, Any]) -> int:
    """Refuse what the engine's compilers take long for; whether there is a regular expression (1, else 0)."""
    for word in _COUNTS:
        count = schema.get(word, 0)
        if isinstance(count, bool) or not isinstance(count, int) or not 0 <= count <= _MAX_COUNT:
            raise _Wrong(f"{_context(place)}'{word}' must be a whole number from 0 to {_MAX_COUNT:,}.")
    if "patternProperties" in schema:
        # Of vLLM's compilers the one that takes them all (outlines) is the one that nothing bounds.
        raise _Wrong(f"{_context(place)}'patternProperties' is not supported; use 'additionalProperties'.")
    if "pattern" not in schema:
        return 0
    pattern = schema["pattern"]
    if not isinstance(pattern, str):
        raise _Wrong(f"{_context(place)}'pattern' must be a string.")
    try:
        check_pattern(pattern)
    except PatternTooCostly as why:
        raise _Wrong(f"{_context(place)}the pattern '{pattern[:64]}' {why}") from None
    return 1


def _characters(schema: Mapping[str, Any]) -> int:
    """How many the engine has to compile of one schema's own words: of names, ``enum``, ``const`` and patterns."""
    names = sum(len(name) for word in _MAPS for name in schema.get(word, ()))
    values = (*schema.get("enum", ()), schema.get("const"), schema.get("pattern"))
    return names + sum(len(value) if isinstance(value, str) else len(repr(value)) for value in values)


def _check_strict_root(schema: Mapping[str, Any]) -> None:
    if schema.get("type") != "object":
        raise _Wrong("schema must be a JSON Schema of 'type: \"object\"'.")
    if "anyOf" in schema:
        raise _Wrong("the root of a strict schema must not be 'anyOf'.")


def _check_strict(place: _Place, depth: int, schema: Mapping[str, Any]) -> None:
    if depth > _MAX_STRICT_DEPTH:
        raise _Wrong(f"{_context(place)}a strict schema may be nested {_MAX_STRICT_DEPTH} deep.")
    for word in _NOT_STRICT:
        if word in schema:
            raise _Wrong(f"{_context(place)}'{word}' is not permitted in a strict schema.")
    kinds = schema.get("type")
    if (
        "properties" not in schema
        and kinds != "object"
        and not (isinstance(kinds, list) and "object" in kinds)
    ):
        return
    if schema.get("additionalProperties") is not False:
        raise _Wrong(f"{_context(place)}'additionalProperties' is required to be supplied and to be false.")
    missing = sorted(set(schema.get("properties", {})) - set(schema.get("required", ())))
    if missing:
        raise _Wrong(
            f"{_context(place)}'required' is required to be supplied and to be an array including every key in "
            f"properties. Missing '{missing[0][:64]}'."
        )


def _context(place: _Place) -> str:
    """Where, in OpenAI's words; no more of it than a reader needs."""
    return f"In context=({', '.join(repr(step[:64]) for step in place[-6:])}), "
