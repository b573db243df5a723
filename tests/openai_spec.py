"""OpenAI's own description of its API, to hold ours against.

``OpenAISpec.problems`` says what is wrong with an answer, ``differences`` which fields of one schema another lacks.
Their document is ``../shared/data/api/openai-openapi/openapi.yaml``; it is no part of the project.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator
from jsonschema.exceptions import best_match
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT202012

__all__ = ["OpenAISpec", "SchemaFields", "differences", "openai_spec", "request_schema", "response_schemas"]

Schema = Mapping[str, Any]

_FILE = Path(__file__).resolve().parents[2] / "shared" / "data" / "api" / "openai-openapi" / "openapi.yaml"
_BRANCHES = ("allOf", "anyOf", "oneOf")
_URI = "urn:openai"


def openai_spec() -> OpenAISpec:
    """OpenAI's document, read once a process; skips with the reason where it is absent."""
    if not _FILE.is_file():
        pytest.skip(
            "../shared/data/api/openai-openapi is absent: OpenAI's document is not part of the project"
        )
    return _read(_FILE)


@functools.cache
def _read(path: Path) -> OpenAISpec:
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # ten times faster where PyYAML was built with it
    return OpenAISpec(yaml.load(path.read_text(), loader))  # noqa: S506 - both are safe


class OpenAISpec:
    """OpenAI's document, with schemas brought to the form that JSON Schema has."""

    def __init__(self, document: dict[str, Any]) -> None:
        self.document = _as_json_schema(document)
        resource = Resource.from_contents(self.document, default_specification=DRAFT202012)
        self._registry = Registry().with_resource(_URI, resource)

    def problems(self, schema: str, instance: Any) -> list[str]:
        """What of ``instance`` is not as the schema of this name says; empty when all is.

        Branches of ``oneOf`` need not exclude each other: OpenAI's often do not. Fields that a schema does not
        name are let through, see ``unknown``.
        """
        validator = Draft202012Validator(
            {"$ref": f"{_URI}#/components/schemas/{schema}"}, registry=self._registry
        )
        return [
            f"{error.json_path}: {(best_match([error]) or error).message[:300]}"
            for error in validator.iter_errors(instance)
        ]

    def unknown(self, schema: str, instance: Any) -> set[str]:
        """Fields of ``instance`` that the schema of this name does not know, as paths: ``choices[].logit``."""
        known = SchemaFields.of(self.document, {"$ref": f"#/components/schemas/{schema}"})
        return {path for path in _instance_paths(instance) if not known.allows(path)}

    def paths(self) -> set[str]:
        """All paths that OpenAI serves, such as ``/chat/completions``."""
        return {path for path in self.document["paths"] if "?" not in path}


@dataclass(frozen=True, slots=True)
class SchemaFields:
    """All that a schema can hold: paths of fields (``messages[].content[].text``) and their listed values."""

    paths: frozenset[str]
    values: Mapping[str, frozenset[str]]
    open_paths: frozenset[str]
    """Objects that take any field: their members are not named."""

    @classmethod
    def of(cls, document: Mapping[str, Any], schema: Schema) -> SchemaFields:
        """Those of ``schema``, whose references are looked up in ``document``. A schema within itself is not
        entered again.
        """
        paths: set[str] = set()
        values: dict[str, set[str]] = {}
        opened: set[str] = set()
        _walk(document, schema, "", (), (paths, values, opened), {})
        told = {path: frozenset(found) for path, found in values.items()}
        return cls(frozenset(paths), told, frozenset(opened))

    def allows(self, path: str) -> bool:
        """Whether a field may be there: named, or in an object that takes any."""
        if path in self.paths:
            return True
        return any(path.startswith((f"{one}.", f"{one}[")) or one in ("", path) for one in self.open_paths)


def differences(
    theirs: SchemaFields, ours: SchemaFields, *, answered: bool = False, allowed: Iterable[str] = ()
) -> list[str]:
    """Fields and listed values that ``theirs`` has and ``ours`` has not.

    Of what is ``answered`` only the values of ``type`` are compared so, which say what kinds of things there are;
    of others, those that are listed as ``!`` are ours and not known to them. What lies in a missing field is not
    listed again. ``allowed`` are patterns of ``fnmatch``, where ``[]`` means
    itself, over ``path`` and ``path=value``.
    """
    patterns = [pattern.replace("[]", "[[]]") for pattern in allowed]

    def known(name: str) -> bool:
        return any(fnmatchcase(name, pattern) for pattern in patterns)

    missing = {path for path in theirs.paths if not ours.allows(path)}
    found = {path for path in missing if not any(part in missing for part in _parents(path))}
    for path in theirs.values.keys() & ours.values.keys():
        if not answered or path.rpartition(".")[2] == "type":
            found |= {f"{path}={value}" for value in theirs.values[path] - ours.values[path]}
        if answered:
            found |= {f"!{path}={value}" for value in ours.values[path] - theirs.values[path]}
    return sorted(name for name in found if not known(name))


def request_schema(document: Mapping[str, Any], path: str, method: str = "post") -> Schema | None:
    """The schema of a route's body, whatever its content type; ``None`` without one."""
    operation = document["paths"][path][method]
    content = _resolved(document, operation.get("requestBody", {})).get("content", {})
    schemas = [kind["schema"] for kind in content.values() if "schema" in kind]
    return {"anyOf": schemas} if schemas else None


def response_schemas(
    document: Mapping[str, Any], path: str, method: str, status: str = "200"
) -> dict[str, Schema]:
    """The schemas of a route's answers by content type."""
    answer = _resolved(document, document["paths"][path][method]["responses"].get(status, {}))
    return {
        kind: content["schema"] for kind, content in answer.get("content", {}).items() if "schema" in content
    }


_Found = tuple[set[str], dict[str, set[str]], set[str]]


def _walk(
    document: Mapping[str, Any],
    schema: Any,
    path: str,
    entered: tuple[str, ...],
    found: _Found,
    seen: dict[tuple[str, str], None],
) -> None:
    if not isinstance(schema, Mapping):
        if schema is True:
            found[2].add(path)
        return
    paths, values, opened = found
    reference = schema.get("$ref")
    if reference is not None:
        # A schema may be met many times at one place, and within itself without end.
        if reference in entered or (path, reference) in seen:
            return
        seen[path, reference] = None
        _walk(document, _target(document, reference), path, (*entered, reference), found, seen)
    for branch in _BRANCHES:
        for part in schema.get(branch, ()):
            _walk(document, part, path, entered, found, seen)
    listed = schema.get("enum") or ([schema["const"]] if "const" in schema else [])
    if listed:
        values.setdefault(path, set()).update(str(value) for value in listed if value is not None)
    for name, field in schema.get("properties", {}).items():
        inner = f"{path}.{name}" if path else name
        paths.add(inner)
        _walk(document, field, inner, entered, found, seen)
    if "items" in schema:
        paths.add(f"{path}[]")
        _walk(document, schema["items"], f"{path}[]", entered, found, seen)
    extra = schema.get("additionalProperties")
    free = (
        "object" in _types(schema) and "properties" not in schema and not any(b in schema for b in _BRANCHES)
    )
    if (extra not in (None, False)) or (extra is None and free):
        opened.add(path)


def _types(schema: Schema) -> list[str]:
    kind = schema.get("type", [])
    return [kind] if isinstance(kind, str) else list(kind)


def _parents(path: str) -> Iterator[str]:
    for place, sign in enumerate(path):
        if sign in ".[" and place:
            yield path[:place]
        if path[place : place + 2] == "[]" and place + 2 < len(path):
            yield path[: place + 2]


def _instance_paths(instance: Any, path: str = "") -> Iterator[str]:
    if isinstance(instance, Mapping):
        for name, value in instance.items():
            inner = f"{path}.{name}" if path else str(name)
            yield inner
            yield from _instance_paths(value, inner)
    elif isinstance(instance, list):
        for value in instance:
            yield from _instance_paths(value, f"{path}[]")


def _target(document: Mapping[str, Any], reference: str) -> Any:
    here: Any = document
    for step in reference.removeprefix(_URI).removeprefix("#/").split("/"):
        here = here[step.replace("~1", "/").replace("~0", "~")]
    return here


def _resolved(document: Mapping[str, Any], node: Mapping[str, Any]) -> Mapping[str, Any]:
    return _target(document, node["$ref"]) if "$ref" in node else node


def _as_json_schema(node: Any) -> Any:
    """OpenAPI 3.0's ``nullable`` and overlapping ``oneOf``, which OpenAI's 3.1 document still has, made plain."""
    if isinstance(node, list):
        return [_as_json_schema(item) for item in node]
    if not isinstance(node, dict):
        return node
    made = {name: _as_json_schema(value) for name, value in node.items()}
    if isinstance(made.get("oneOf"), list):
        others = made.pop("oneOf")
        if "anyOf" in made:
            made["allOf"] = [*made.get("allOf", []), {"anyOf": others}]
        else:
            made["anyOf"] = others
    if "$recursiveRef" in made:
        made.pop("$recursiveRef")  # "#" of a dialect that OpenAPI 3.1 does not have
    if made.pop("nullable", None) is True:
        return {"anyOf": [made, {"type": "null"}]}
    return made
