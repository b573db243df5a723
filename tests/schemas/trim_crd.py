"""Makes a small, strict JSON schema of a CustomResourceDefinition: `trim_crd.py CRD.yaml VERSION > out.json`.

The API server drops fields it does not know, so a misspelt one would pass without a word: here every object is
closed. Descriptions, defaults, the status and rules in CEL are left out, and what is there many times (each worker
group has a pod's whole template) is said once, under ``$defs``.
"""

from __future__ import annotations

import collections
import hashlib
import json
import sys
from typing import Any

import yaml

_LEFT_OUT = {"description", "default", "format", "nullable", "example"}
_WORTH_A_NAME = 200
_NAMES_OF_THE_USERS = ("properties", "$defs")


def strict(schema: Any) -> Any:
    """The schema of a structural CRD as JSON schema in which unknown fields are errors."""
    if isinstance(schema, list):
        return [strict(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    kept = {
        name: {field: strict(part) for field, part in value.items()}
        if name == "properties"
        else strict(value)
        for name, value in schema.items()
        if name not in _LEFT_OUT and not name.startswith("x-kubernetes-")
    }
    closed = "properties" in kept and "additionalProperties" not in kept
    if closed and not schema.get("x-kubernetes-preserve-unknown-fields"):
        kept["additionalProperties"] = False
    return kept


def shared(schema: dict[str, Any]) -> dict[str, Any]:
    """The same schema with subtrees that are there twice moved to ``$defs``."""
    seen: collections.Counter[str] = collections.Counter()

    def key(part: Any) -> str:
        return hashlib.sha256(json.dumps(part, sort_keys=True).encode()).hexdigest()[:8]

    def count(part: Any) -> None:
        if isinstance(part, dict):
            if "type" in part:
                seen[key(part)] += 1
            for value in part.values():
                count(value)

    count(schema)
    definitions: dict[str, Any] = {}

    def moved(part: Any, is_schema: bool) -> Any:
        if not isinstance(part, dict):
            return part
        name = key(part)
        inner = {k: moved(v, not (is_schema and k in _NAMES_OF_THE_USERS)) for k, v in part.items()}
        if is_schema and "type" in part and seen[name] > 1 and len(json.dumps(part)) > _WORTH_A_NAME:
            definitions[name] = inner
            return {"$ref": f"#/$defs/{name}"}
        return inner

    return {**moved(schema, True), "$defs": definitions}


def main() -> None:
    """Write the schema of one version of a CRD to standard output."""
    path, version = sys.argv[1:]
    with open(path, encoding="utf-8") as file:
        crd = yaml.load(file, Loader=yaml.CSafeLoader)
    schema = next(v for v in crd["spec"]["versions"] if v["name"] == version)["schema"]["openAPIV3Schema"]
    schema["properties"].pop("status", None)
    schema["properties"]["metadata"] = {
        "type": "object",
        "properties": {
            "name": {"type": "string"},
            "namespace": {"type": "string"},
            "labels": {"type": "object", "additionalProperties": {"type": "string"}},
            "annotations": {"type": "object", "additionalProperties": {"type": "string"}},
        },
        "required": ["name"],
    }
    small = {"$schema": "https://json-schema.org/draft/2020-12/schema", **shared(strict(schema))}
    json.dump(small, sys.stdout, separators=(",", ":"), sort_keys=True)
    sys.stdout.write("\n")


if __name__ == "__main__":
    main()
