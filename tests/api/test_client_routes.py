"""What can be asked of the platform by our Python client, and what by OpenAI's."""

from __future__ import annotations

import asyncio
import re

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


def client_routes() -> set[tuple[str, str]]:
    described = [
        value for kind in CLIENTS_OWN for value in vars(kind).values() if isinstance(value, Described)
    ]
    return {(one.route.method, "/v1" + re.sub(r"\{\w+\}", "{}", one.route.template)) for one in described}


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
