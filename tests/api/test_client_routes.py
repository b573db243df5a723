"""What can be asked of the platform by our Python client, and what by OpenAI's."""

from __future__ import annotations

import asyncio
import inspect
import re
from typing import Any

from fake_platform import Platform
from openai_spec import openai_spec

from serving.access.route_scopes import ROUTE_SCOPES
from serving.client import AsyncManymodal, Manymodal
from serving.client.calls import AsyncResource, Described, SyncResource
from serving.client.collections import Collections
from serving.client.documents import Documents
from serving.client.ingest import Ingest
from serving.client.media import Media
from serving.client.search import RootCalls
from serving.client.tenants import Tenants
from serving.client.understanding import Audio, Video

CLIENTS_OWN = (
    RootCalls,
    *(kind.__mro__[1] for kind in (Media, Collections, Documents, Ingest, Video, Audio, Tenants)),
)

WITHOUT_CLIENT = {
    ("GET", "/"): "a page, for browsers",
    ("GET", "/assets/{}"): "what the page is made of",
    ("GET", "/health"): "for whoever watches over the process; no part of /v1",
    ("GET", "/ready"): "its 503 is an answer and not an error; no part of /v1",
    ("GET", "/metrics"): "for Prometheus; no part of /v1",
    ("GET", "/openapi.json"): "for generators of clients; no part of /v1",
    ("GET", "/v1/links/{}"): "an address that says all and needs no client",
    ("POST", "/v1/files/{}/link"): "the same as media.link, which takes these ids too",
}


def described() -> list[Described[...]]:
    """Every call of the client."""
    return [one for kind in CLIENTS_OWN for one in vars(kind).values() if isinstance(one, Described)]


def client_routes() -> set[tuple[str, str]]:
    return {(one.route.method, "/v1" + re.sub(r"\{\w+\}", "{}", one.route.template)) for one in described()}


def test_every_route_is_openais_or_ours_or_left_out_for_a_reason() -> None:
    spec = openai_spec().document["paths"]
    openais = {
        (method.upper(), "/v1" + re.sub(r"\{\w+\}", "{}", path))
        for path, does in spec.items()
        for method in does
    }
    ours = client_routes()
    assert len(ours) > 25
    assert ours <= ROUTE_SCOPES.keys()
    assert not ours & openais  # there OpenAI's client serves
    assert ROUTE_SCOPES.keys() - openais - ours == WITHOUT_CLIENT.keys()


def test_both_clients_have_the_same_parts() -> None:
    with Manymodal(base_url="http://127.0.0.1:1") as client:
        parts = {name for name, value in vars(client).items() if isinstance(value, SyncResource)}
        assert all(getattr(client, name)._client is client.openai for name in parts)
    there = AsyncManymodal(base_url="http://127.0.0.1:1")
    assert {name for name, value in vars(there).items() if isinstance(value, AsyncResource)} == parts
    asyncio.run(there.close())


SAID_OTHERWISE = {
    "POST /media": {"file", "data"},  # put takes the file, put_url what is fetched and what is brought
    "POST /ingest": {"reembed"},  # a call of its own
    "POST /video/analyze": {
        "video_url",
        "video_file",
        "file_id",
        "stream",
    },  # one parameter; a call of its own
    "POST /audio/transcribe": {"audio_url", "audio_file", "file_id", "stream"},
    "GET /collections/{collection}/documents": {"id"},  # get_many
}
"""What a call says by itself, or under another name: fields of the API that are no parameter of ours."""

OF_OURS = {
    "POST /ingest": {"source", "alias"},
    "POST /video/analyze": {"video"},
    "POST /audio/transcribe": {"audio"},
    "GET /collections/{collection}/documents": {"ids"},
}
"""Parameters that become one of these."""


def fields_of(document: dict[str, Any], operation: dict[str, Any]) -> set[str]:
    """Names of what an operation reads from path, query, JSON and form."""
    names = {one["name"] for one in operation.get("parameters", ()) if one["in"] in ("path", "query")}
    for content in operation.get("requestBody", {}).get("content", {}).values():
        schema = content["schema"]
        if "$ref" in schema:
            schema = document["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
        names |= schema.get("properties", {}).keys()
    return names


def test_every_field_of_a_request_is_a_parameter(platform: Platform) -> None:
    """Of one of the calls of its route, and no call has one that the API has not."""
    document = platform.app.openapi()
    parameters: dict[str, set[str]] = {}
    for one in described():
        route = f"{one.route.method} {one.route.template}"
        parameters.setdefault(route, set()).update(list(inspect.signature(one._function).parameters)[1:])
    for route, ours in parameters.items():
        method, template = route.split(" ")
        path = document["paths"]["/v1" + template]
        fields = fields_of(document, path[method.lower()]) - {"request"}
        elsewhere = SAID_OTHERWISE.get(route, set())
        assert fields - ours <= elsewhere, f"{route}: the client lacks {fields - ours - elsewhere}"
        assert elsewhere <= fields, f"{route}: the API has no {elsewhere - fields}"
        unknown = ours - fields - OF_OURS.get(route, set())
        assert not unknown, f"{route}: the API has no {unknown}"
    assert OF_OURS.keys() | SAID_OTHERWISE.keys() <= parameters.keys()
