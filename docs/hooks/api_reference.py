"""The API reference: pages made of the application's own OpenAPI document, one for each family of routes."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import guide
import markdown_links
import yaml
from schema_tables import anchor, field_table, models_in, plain, type_words

from serving.access.route_scopes import needed_for

__all__ = ["FAMILIES", "Family", "filled", "pages", "read_examples"]

Document = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Family:
    """Routes that are told of together: a page's name and title, the beginnings of their paths, and the sections
    of the guide that tell of them.
    """

    name: str
    title: str
    prefixes: tuple[str, ...]
    sections: tuple[str, ...] = field(default=())


FAMILIES = (
    Family("chat", "Chat", ("/v1/chat/",), ("post-v1chatcompletions",)),
    Family("responses", "Responses", ("/v1/responses",), ("v1responses",)),
    Family("video", "Video", ("/v1/video/",), ("post-v1videoanalyze",)),
    Family(
        "audio",
        "Audio",
        ("/v1/audio/",),
        (
            "post-v1audiotranscribe",
            "post-v1audiotranscriptions",
            "post-v1audiotranslations",
            "post-v1audiospeech",
        ),
    ),
    Family("embeddings", "Embeddings", ("/v1/embeddings",), ("post-v1embeddings",)),
    Family("search", "Search", ("/v1/search", "/v1/recommend"), ("post-v1search", "post-v1recommend")),
    Family("collections", "Collections", ("/v1/collections",), ("collections", "documents")),
    Family("ingest", "Ingest", ("/v1/ingest",), ("post-v1ingest",)),
    Family("files", "Files and uploads", ("/v1/files", "/v1/uploads", "/v1/links"), ("v1files", "v1uploads")),
    Family("media", "Media", ("/v1/media",), ("v1media",)),
    Family("batches", "Batches", ("/v1/batches",), ("v1batches",)),
    Family("moderations", "Moderations", ("/v1/moderations",), ("post-v1moderations",)),
    Family(
        "operating",
        "Models, tenants, health",
        ("/v1/models", "/v1/tenants", "/v1/admin/", "/health", "/ready", "/metrics", "/"),
        ("get-v1models", "v1tenants", "get-health-ready-metrics", "get-v1adminpools"),
    ),
)
"""In the order of the menu. The last takes what no other names, so that no route is without a page."""

_LINE = 88  # characters of an example
_METHODS = ("get", "post", "put", "patch", "delete")


def pages(document: Document, guide_text: str, examples: Mapping[str, Any]) -> dict[str, str]:
    """The Markdown of each family's page by its path in the site. ``examples`` are bodies by method and path."""
    told, titles = guide.sections(guide_text), guide.titles(guide_text)
    made: dict[str, str] = {}
    for family in FAMILIES:
        operations = [one for one in _operations(document) if _family_of(one[1]) is family]
        meanings = {name: _rebased(guide.meanings(told[name])) for name in family.sections}
        links = ", ".join(f"[{titles[name]}](../api.md#{name})" for name in family.sections)
        writer = _Page(family.title, links, document["components"]["schemas"], meanings, examples)
        made[f"reference/{family.name}.md"] = writer.page(operations)
    made["reference/index.md"] = _index(document)
    return made


def _index(document: Document) -> str:
    """All routes in one table, each with a link to where it is told of."""
    lines = [
        "# API reference",
        "",
        "Every route, made from the application's OpenAPI document, which a running platform answers at "
        "`/openapi.json`. Begin with the [guide](../api.md); errors are [listed by themselves](errors.md).",
        "",
        "| route | what it does | key's scope |",
        "|---|---|---|",
    ]
    for family in FAMILIES:
        for method, path, operation in _operations(document):
            if _family_of(path) is family:
                (name,) = markdown_links.anchors(f"## `{method} {path}`")
                what = _sentences(operation.get("description", "")).partition("\n")[0]
                needed = needed_for(method, path)
                scope = {"nothing": "no key", "any": "any"}.get(needed, f"`{needed}`")
                lines.append(f"| [`{method} {path}`]({family.name}.md#{name}) | {what} | {scope} |")
    return "\n".join(lines) + "\n"


def _family_of(path: str) -> Family:
    return next(family for family in FAMILIES if path.startswith(family.prefixes))


def _operations(document: Document) -> Iterator[tuple[str, str, Document]]:
    for path, methods in document["paths"].items():
        yield from ((method.upper(), path, methods[method]) for method in _METHODS if method in methods)


def _rebased(meanings: Mapping[str, str]) -> dict[str, str]:
    """The guide's words with its links as they must be from a page of ``reference/``."""
    found: dict[str, str] = {}
    for name, words in meanings.items():
        turned = words.replace("](#", "](../api.md#")
        for page in ("architecture", "search", "operations", "models", "security"):
            turned = turned.replace(f"]({page}.md", f"](../{page}.md")
        found[name] = turned
    return found


class _Page:
    """Writes one family's page; models are told of once, below the routes."""

    def __init__(
        self,
        title: str,
        guide_links: str,
        models: Document,
        meanings: Mapping[str, Mapping[str, str]],
        examples: Mapping[str, Any],
    ) -> None:
        self._title = title
        self._guide_links = guide_links
        self._models = models
        self._meanings = meanings
        self._examples = examples
        self._bodies: dict[str, Mapping[str, str]] = {}

    def page(self, operations: Sequence[tuple[str, str, Document]]) -> str:
        """All of it."""
        parts = [
            f"# {self._title}",
            "Made from the application's OpenAPI document (`/openapi.json`). What the fields do together, with "
            f"answers to look at, is told in the guide: {self._guide_links}. Errors of all routes: "
            "[Errors](errors.md); limits: [the guide](../api.md#limits).",
        ]
        for method, path, operation in operations:
            parts.extend(self._operation(method, path, operation))
        wanted = [name for one in operations for name in self._reached(one[2]) if name != "ErrorBody"]
        if wanted:
            parts.append("## Models")
        for name in dict.fromkeys(wanted):
            parts.extend(self._model(name))
        return "\n\n".join(part for part in parts if part) + "\n"

    def _operation(self, method: str, path: str, operation: Document) -> Iterator[str]:
        yield f"## `{method} {path}`"
        yield _sentences(operation.get("description", ""))
        yield _key_words(method, path)
        parameters = operation.get("parameters", [])
        if parameters:
            yield "**Parameters**"
            yield _parameter_table(parameters)
        meanings = self._meanings_for(method, path)
        for kind, content in operation.get("requestBody", {}).get("content", {}).items():
            yield f"**Body**, `{kind}`"
            schema = content["schema"]
            if "$ref" in schema or "properties" not in schema:
                yield f"{type_words(schema)}."
                for name in models_in({"$ref": schema.get("$ref")}):
                    self._bodies.setdefault(name, meanings)
            else:
                yield field_table(schema, meanings)
        yield self._example(method, path)
        for status, answer in operation["responses"].items():
            if status == "default":
                continue
            kinds = [
                f"`{kind}`: {type_words(content['schema'])}" if content.get("schema") else f"`{kind}`"
                for kind, content in answer.get("content", {}).items()
            ]
            yield f"**Answer** {status}" + (f", {'; '.join(kinds)}." if kinds else ".")

    def _meanings_for(self, method: str, path: str) -> dict[str, str]:
        """What the guide says of a route's fields: in its own section, else in those before it, the nearest first.

        Sections that are of no single route tell of all.
        """
        (own,) = markdown_links.anchors(f"## `{method} {path}`")
        names = list(self._meanings)
        order = names[names.index(own) :: -1] if own in names else names
        found: dict[str, str] = {}
        for name in order:
            found = {**self._meanings[name], **found}
        return found

    def _example(self, method: str, path: str) -> str:
        body = self._examples.get(f"{method} {path}")
        if body is None:
            return ""
        written = _written(body).replace("'", "'\\''")
        verb = "" if method == "POST" else f"-X {method} "
        return (
            f"```sh\ncurl {verb}http://127.0.0.1:8000{filled(path)} "
            f"-H 'Content-Type: application/json' -d '{written}'\n```"
        )

    def _reached(self, operation: Document) -> list[str]:
        """Models of bodies and answers, and all that these refer to, outer ones first."""
        parts = ("parameters", "requestBody", "responses")
        waiting = [name for part in parts for name in models_in(operation.get(part))]
        found: dict[str, None] = {}
        while waiting:
            name = waiting.pop(0)
            if name not in found and name in self._models and name != "JsonValue":
                found[name] = None
                waiting.extend(models_in(self._models[name]))
        return list(found)

    def _model(self, name: str) -> Iterator[str]:
        schema = self._models[name]
        yield f"### `{name}` {{ #{anchor(name)} }}"
        yield _sentences(schema.get("description", ""))
        table = field_table(schema, self._bodies.get(name))
        yield table or f"{type_words(schema)}."


def _parameter_table(parameters: Sequence[Document]) -> str:
    schema = {
        "properties": {
            one["name"]: {"description": f"in the {one['in']}", **one.get("schema", {})} for one in parameters
        },
        "required": [one["name"] for one in parameters if one.get("required")],
    }
    return field_table(schema)


def _written(value: Any, indent: int = 0) -> str:
    """JSON for readers: what fits into a line stands in one."""
    flat = json.dumps(value, ensure_ascii=False)
    if len(flat) + indent <= _LINE or not isinstance(value, dict | list):
        return flat
    pad, end = " " * (indent + 2), " " * indent
    if isinstance(value, dict):
        parts = [f"{pad}{json.dumps(key)}: {_written(one, indent + 2)}" for key, one in value.items()]
        return "{\n" + ",\n".join(parts) + f"\n{end}}}"
    return "[\n" + ",\n".join(pad + _written(one, indent + 2) for one in value) + f"\n{end}]"


def _key_words(method: str, path: str) -> str:
    needed = needed_for(method, path)
    if needed == "nothing":
        return "Needs no key."
    if needed == "any":
        return "Where keys are on, any key will do."
    return f"Where keys are on, the key needs the scope `{needed}`."


def _sentences(description: str) -> str:
    return "\n\n".join(plain(paragraph) for paragraph in description.split("\n\n"))


def filled(path: str) -> str:
    """The path with a value in the place of each parameter, as the examples use them."""
    for name, value in _PLACES.items():
        path = path.replace("{" + name + "}", value)
    return path


_PLACES = {
    "collection": "photos",
    "alias": "live",
    "tenant": "research",
    "file_id": "file-0123456789abcdef0123456789abcdef",
    "media_id": "file-0123456789abcdef0123456789abcdef",
    "upload_id": "upload_0123456789abcdef0123456789abcdef",
}


def read_examples(text: str) -> Mapping[str, Any]:
    """Bodies by method and path, of ``docs/hooks/examples.yaml``."""
    found: Mapping[str, Any] = yaml.safe_load(text)
    return found
