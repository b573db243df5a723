"""Schemas that would keep the engine's grammar compiler busy are refused before it gets them."""

from __future__ import annotations

from typing import Any

import pytest

from serving.errors import InvalidRequest
from serving.json_schemas import check_schema
from serving.schema_patterns import PatternTooCostly, check_pattern

USUAL = (
    r"^[a-z]+$",
    r"^([a-zA-Z0-9_\-\.]+)@([a-zA-Z0-9_\-\.]+)\.([a-zA-Z]{2,5})$",
    r"^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(\.\d{1,9})?(Z|[+-]\d{2}:\d{2})$",
    r"^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$",
    r"^(\d{1,3}\.){3}\d{1,3}$",
    r"^\+?[1-9]\d{1,14}$",
    r"^[A-Z]{2}\d{2}[A-Z0-9]{1,30}$",
    r"^https?://[^\s/$.?#].[^\s]*$",
    r".{0,200}",
    # As JSON Schema's dialect has it, and Python has not.
    r"^[\w-\.]+@([\w-]+\.)+[\w-]{2,4}$",
    r"^(?<year>\d{4})-(?<month>\d{2})$",
    r"[[a]",  # of which Python warns
)
COSTLY = (
    r"(.{0,99})*(.{0,99})*",
    r".{0,99}.{0,99}",
    r"(.{0,30})*",
    r"((((a{0,9}){0,9}){0,9}){0,9}){0,9}",
    r"(a{40}){40}",
    r"(x+){1001}",
    r"(?:a|b{0,99})*(?:a|b{0,99})",
    r"[\w-.]{0,99}[\]]{0,99}",
    r"(?<a>\[{0,99})(?<b>.{0,99})",
    r"[]{0,99}[^]{0,99}",
    # What Python would take for comments.
    r"(?x)a#.{0,99}.{0,99}",
    r"(?#.{0,99}.{0,99})",
    r"(?s-x:a)",
    "a" * 501,
)


def refused(schema: dict[str, Any], *, strict: bool = False) -> str:
    with pytest.raises(InvalidRequest) as caught:
        check_schema(schema, "response_format 'x'", "response_format", "invalid_json_schema", strict=strict)
    return caught.value.message


def accepted(schema: dict[str, Any]) -> None:
    check_schema(schema, "response_format 'x'", "response_format", "invalid_json_schema", strict=False)


@pytest.mark.parametrize("pattern", USUAL)
def test_usual_patterns_are_taken(pattern: str) -> None:
    check_pattern(pattern)
    accepted({"type": "string", "pattern": pattern})


@pytest.mark.parametrize("pattern", COSTLY)
def test_costly_patterns_are_refused_wherever_they_stand(pattern: str) -> None:
    with pytest.raises(PatternTooCostly):
        check_pattern(pattern)
    for schema in (
        {"type": "object", "properties": {"a": {"type": "string", "pattern": pattern}}},
        {"type": "object", "propertyNames": {"pattern": pattern}},
        {"type": "array", "items": {"anyOf": [{"pattern": pattern}]}},
    ):
        assert "the pattern '" in refused(schema)


@pytest.mark.parametrize("pattern", ["(", "a(?=b)", "(?<!a)b", "(a)?(?(1)b|c)"])
def test_what_the_engine_cannot_follow_is_refused(pattern: str) -> None:
    assert "the pattern" in refused({"type": "string", "pattern": pattern})


def test_patterns_of_names_are_refused() -> None:
    assert "'patternProperties'" in refused(
        {"type": "object", "patternProperties": {"^a": {"type": "string"}}}
    )


def test_a_pattern_is_a_string() -> None:
    assert "'pattern' must be a string" in refused({"type": "string", "pattern": ["a"]})


def test_fifty_patterns_and_no_more() -> None:
    def schema(count: int) -> dict[str, Any]:
        return {"anyOf": [{"type": "string", "pattern": f"^{n}$"} for n in range(count)]}

    accepted(schema(50))
    assert "too large" in refused(schema(51))


def test_five_hundred_properties_may_be_left_out_and_no_more() -> None:
    def schema(count: int, required: int = 0) -> dict[str, Any]:
        names = [f"p{n}" for n in range(count)]
        return {"type": "object", "properties": {name: {} for name in names}, "required": names[:required]}

    accepted(schema(500))
    accepted(schema(5000, 4500))
    assert "'required'" in refused(schema(501))


@pytest.mark.parametrize("word", ["minLength", "maxLength", "minItems", "maxItems", "minProperties"])
def test_counts_have_a_limit(word: str) -> None:
    accepted({"type": "string", word: 100_000})
    for count in (100_001, 10**30, -1, 1.5, "1", True):
        assert f"'{word}'" in refused({word: count})


def test_a_schema_is_not_its_own_beginning() -> None:
    assert "$ref" in refused({"type": "object", "$ref": "#"})
    accepted({"type": "object", "properties": {"next": {"$ref": "#"}}})
