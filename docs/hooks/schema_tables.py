"""JSON schemas as Markdown: one table of fields for each model, with types, defaults and limits."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

__all__ = ["anchor", "field_table", "models_in", "plain", "type_words"]

Schema = Mapping[str, Any]

_REFERENCE = "#/components/schemas/"
_LIMITS = (
    ("minimum", "at least {}"),
    ("ge", "at least {}"),
    ("exclusiveMinimum", "above {}"),
    ("gt", "above {}"),
    ("maximum", "at most {}"),
    ("le", "at most {}"),
    ("exclusiveMaximum", "below {}"),
    ("lt", "below {}"),
    ("multipleOf", "multiples of {}"),
    ("minLength", "at least {} characters"),
    ("maxLength", "at most {} characters"),
    ("minItems", "at least {} items"),
    ("maxItems", "at most {} items"),
    ("minProperties", "at least {} names"),
    ("maxProperties", "at most {} names"),
    ("pattern", "matches `{}`"),
)
_LARGEST_SHOWN = 1 << 60  # what is as large as the wire's numbers is no limit to speak of


def anchor(model: str) -> str:
    """The anchor of a model's table on its page."""
    return f"schema-{model.lower()}"


def models_in(schema: Any) -> Iterator[str]:
    """Names of the models that a schema refers to, in order, each as often as it stands there."""
    if isinstance(schema, Mapping):
        reference = schema.get("$ref")
        if isinstance(reference, str) and reference.startswith(_REFERENCE):
            yield reference.removeprefix(_REFERENCE)
        for key, value in schema.items():
            if key not in ("default", "examples", "example", "discriminator"):
                yield from models_in(value)
    elif isinstance(schema, list):
        for value in schema:
            yield from models_in(value)


def field_table(schema: Schema, meanings: Mapping[str, str] | None = None) -> str:
    """A model's fields as a table; empty for a model without any. Columns that would be empty are left out."""
    needed = set(schema.get("required", ()))
    rows = [
        {
            "field": f"`{name}`" + (" **needed**" if name in needed else ""),
            "type": type_words(field),
            "default": _default(field, name in needed),
            "limits": ", ".join(dict.fromkeys(_limits(field))),
            "what": plain(field.get("description") or (meanings or {}).get(name, "")),
        }
        for name, field in sorted(schema.get("properties", {}).items(), key=lambda one: one[0] not in needed)
    ]
    columns = [
        column
        for column in ("field", "type", "default", "limits", "what")
        if any(row[column] for row in rows)
    ]
    if not columns:
        return ""
    lines = [columns, ["---"] * len(columns), *([row[column] for column in columns] for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def type_words(schema: Schema) -> str:
    """What a value is, in words, with links to the tables of models."""
    kinds = list(dict.fromkeys(_types(schema)))
    if "number" in kinds and "integer" in kinds:
        kinds.remove("integer")  # which is one
    return " or ".join(kinds) or "anything"


def plain(words: str) -> str:
    """A description as one line of Markdown: docstrings write code with two backticks."""
    return " ".join(words.replace("``", "`").split())


def _types(schema: Schema) -> Iterator[str]:
    if "$ref" in schema:
        name = schema["$ref"].removeprefix(_REFERENCE)
        yield f"[{name}](#{anchor(name)})" if name != "JsonValue" else "any JSON"
    elif "const" in schema:
        yield f"`{json.dumps(schema['const'])}`"
    elif "enum" in schema:
        yield from (f"`{json.dumps(value)}`" for value in schema["enum"])
    elif alternatives := schema.get("anyOf") or schema.get("oneOf") or schema.get("allOf"):
        for alternative in alternatives:
            yield from _types(alternative)
    elif schema.get("type") == "array":
        items = schema.get("items") or {}
        yield f"list of {type_words(items)}" if items else "list"
    elif schema.get("type") == "object":
        values = schema.get("additionalProperties")
        yield f"object of {type_words(values)}" if isinstance(values, Mapping) and values else "object"
    elif schema.get("format") == "binary":
        yield "file"
    elif "type" in schema:
        yield str(schema["type"])


def _default(schema: Schema, needed: bool) -> str:
    if needed or schema.get("default") is None:
        return ""
    return f"`{json.dumps(schema['default'])}`"


def _limits(schema: Schema) -> Iterator[str]:
    for key, words in _LIMITS:
        value = schema.get(key)
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if isinstance(value, int) and abs(value) >= _LARGEST_SHOWN:
            continue
        if value is not None:
            yield words.format(value).replace(" 1 items", " 1 item").replace(" 1 characters", " 1 character")
    for alternative in schema.get("anyOf") or schema.get("oneOf") or ():
        yield from _limits(alternative)
    if isinstance(schema.get("items"), Mapping):
        yield from (f"each {words}" for words in _limits(schema["items"]))
