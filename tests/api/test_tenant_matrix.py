"""Every route, and every id that a body may hold: another tenant's answers byte for byte like a missing one."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx2
import pytest
from fake_platform import Platform, build_platform, http_client
from fake_services import fake_mp4, fake_png, fake_wav

from serving.access.config import AccessConfig
from serving.access.keys import KeyStore
from serving.batches.config import BatchConfig
from serving.config import GatewayConfig
from serving.identity import ALL_SCOPES
from serving.ingest.config import IngestConfig

Ids = dict[str, str]
"""What the first tenant has, by its kind; or the same kinds of things that nobody has."""

Request = tuple[str, dict[str, Any]]
"""A path, and what else is sent."""

# Kinds of ids, and what of their form nobody has.
MISSING: Ids = {
    "picture": "file-" + "0" * 32,
    "sound": "file-" + "1" * 32,
    "video": "file-" + "2" * 32,
    "list": "file-" + "3" * 32,
    "upload": "upload_" + "0" * 32,
    "part": "part_" + "0" * 48,
    "job": "ingest_" + "0" * 32,
    "batch": "batch_" + "0" * 32,
    "response": "resp_" + "0" * 32,
    "message": "msg_" + "0" * 32,
    "collection": "absent-zoo",
    "alias": "absent-animals",
    "document": "absent-cat",
    "tenant": "absent-tenant",
    "token": "YQ.YQ.YQ",
}
SMALL = {"model": "default", "max_tokens": 5}


def chat(part: dict[str, Any]) -> dict[str, Any]:
    return {
        "json": {**SMALL, "messages": [{"role": "user", "content": [part, {"type": "text", "text": "?"}]}]}
    }


def respond(part: dict[str, Any]) -> dict[str, Any]:
    return {"json": {"model": "default", "input": [{"role": "user", "content": [part]}]}}


def by_file(ids: Ids) -> Iterator[Request]:
    for media in ("picture", "sound", "video"):
        kind = {"picture": "image_url", "sound": "audio_url", "video": "video_url"}[media]
        yield "", chat({"type": kind, kind: {"url": ids[media]}})
        yield "", chat({"type": "file", "file": {"file_id": ids[media]}})


def searches(ids: Ids) -> Iterator[Request]:
    own, foreign = {"collection": "mine"}, {"collection": ids["collection"]}
    text, by_document = {"type": "text", "content": "cat"}, {"type": "document", "content": ids["document"]}
    for query in (text, by_document, {"type": "vector", "content": [1.0]}):
        yield "", {"json": {**foreign, "query": query}}
    yield "", {"json": {**foreign, "query": text, "mode": "hybrid", "rerank": {}}}
    yield "", {"json": {"collection": ids["alias"], "query": text}}
    yield "", {"json": {**own, "query": by_document}}
    for media, kind in (("picture", "image"), ("video", "video"), ("sound", "audio")):
        yield "", {"json": {**own, "query": {"type": kind, "content": ids[media]}}}


def recommendations(ids: Ids) -> Iterator[Request]:
    for collection in (ids["collection"], "mine"):
        for body in ({"positive": [ids["document"]]}, {"negative": [ids["document"]]}, {"user_id": "u"}):
            yield "", {"json": {**body, "collection": collection}}


def responses(ids: Ids) -> Iterator[Request]:
    yield "", respond({"type": "input_image", "file_id": ids["picture"]})
    yield "", respond({"type": "input_file", "file_id": ids["picture"]})
    yield "", {"json": {"model": "default", "input": "?", "previous_response_id": ids["response"]}}
    yield "", {"json": {"model": "default", "input": [{"type": "item_reference", "id": ids["message"]}]}}


def ingest(ids: Ids) -> Iterator[Request]:
    yield "", {"json": {"collection": "mine", "file_id": ids["list"], "format": "jsonl"}}
    yield "", {"json": {"collection": "mine", "items": [{"file_id": ids["picture"]}]}}
    yield "", {"json": {"collection": "mine", "reembed": {"source": ids["collection"]}}}


def batch(ids: Ids) -> Iterator[Request]:
    endpoint = {"endpoint": "/v1/chat/completions", "completion_window": "24h"}
    yield "", {"json": {**endpoint, "input_file_id": ids["list"]}}


def listed(kind: str) -> Callable[[Ids], Iterator[Request]]:
    def pages(ids: Ids) -> Iterator[Request]:
        yield "", {}
        yield "", {"params": {"after": ids[kind]}}

    return pages


def document_pages(ids: Ids) -> Iterator[Request]:
    yield "", {}
    yield "", {"params": {"after": ids["document"], "limit": "1"}}
    yield "", {"params": {"id": ids["document"]}}


def contents(ids: Ids) -> Iterator[Request]:
    yield "", {}
    yield "", {"headers": {"if-none-match": "*"}}
    yield "", {"headers": {"range": "bytes=9999999-"}}


def once(**options: Any) -> Callable[[Ids], Iterator[Request]]:
    return lambda ids: iter([("", filled(options, ids))])


def forms(field: str, media: str, **fields: str) -> Callable[[Ids], Iterator[Request]]:
    def form(ids: Ids) -> Iterator[Request]:
        values = {field: (None, ids[media]), **{name: (None, value) for name, value in fields.items()}}
        yield "", {"files": values}

    return form


def filled(value: Any, ids: Ids) -> Any:
    """``value`` with ids in the places of ``<kind>``."""
    if isinstance(value, str):
        found = re.fullmatch(r"<(\w+)>", value)
        return ids[found[1]] if found else value
    if isinstance(value, dict):
        return {key: filled(item, ids) for key, item in value.items()}
    if isinstance(value, list):
        return [filled(item, ids) for item in value]
    return value


PART = {"files": {"data": ("a", b"x")}}
EMPTY = once()

# What can be asked of each route with ids of ours; what changes things comes last. The path's own
# parameters are filled in by their names.
MATRIX: dict[tuple[str, str], Callable[[Ids], Iterator[Request]]] = {
    ("POST", "/v1/chat/completions"): by_file,
    ("POST", "/v1/video/analyze"): once(json={**SMALL, "prompt": "?", "file_id": "<video>"}),
    ("POST", "/v1/responses"): responses,
    ("GET", "/v1/responses/{response}"): EMPTY,
    ("GET", "/v1/responses/{response}/input_items"): EMPTY,
    ("POST", "/v1/responses/{response}/cancel"): EMPTY,
    ("DELETE", "/v1/responses/{response}"): EMPTY,
    ("POST", "/v1/audio/transcribe"): once(json={"file_id": "<sound>"}),
    ("POST", "/v1/audio/transcriptions"): forms("file_id", "sound", model="whisper-1"),
    ("POST", "/v1/audio/translations"): forms("file_id", "sound", model="whisper-1"),
    ("POST", "/v1/embeddings"): once(
        json={
            "model": "all-minilm-l6-v2",
            "input": [{"type": "image_url", "image_url": {"url": "<picture>"}}],
        }
    ),
    ("POST", "/v1/moderations"): once(
        json={
            "model": "omni-moderation-latest",
            "input": [{"type": "image_url", "image_url": {"url": "<picture>"}}],
        }
    ),
    ("GET", "/v1/files"): listed("picture"),
    ("GET", "/v1/files/{picture}"): EMPTY,
    ("GET", "/v1/files/{picture}/content"): contents,
    ("POST", "/v1/files/{picture}/link"): EMPTY,
    ("GET", "/v1/media"): listed("picture"),
    ("GET", "/v1/media/{picture}"): EMPTY,
    ("GET", "/v1/media/{picture}/content"): contents,
    ("GET", "/v1/media/{picture}/thumbnail"): EMPTY,
    ("GET", "/v1/media/{picture}/text"): EMPTY,
    ("POST", "/v1/media/{picture}/link"): EMPTY,
    ("POST", "/v1/media/warm_up"): once(json={"ids": ["<picture>"]}),
    ("GET", "/v1/links/{token}"): EMPTY,
    ("POST", "/v1/uploads/{upload}/parts"): once(**PART),
    ("POST", "/v1/uploads/{upload}/complete"): once(json={"part_ids": ["<part>"]}),
    ("POST", "/v1/uploads/{upload}/cancel"): EMPTY,
    ("GET", "/v1/collections"): EMPTY,
    ("GET", "/v1/collections/{collection}"): EMPTY,
    ("GET", "/v1/collections/{collection}/documents"): document_pages,
    ("GET", "/v1/collections/{collection}/documents/{document}"): EMPTY,
    ("GET", "/v1/collections/{collection}/documents/{document}/near-duplicates"): EMPTY,
    ("POST", "/v1/collections/{collection}/clusters"): once(json={"count": 2}),
    ("POST", "/v1/collections/{collection}/map"): once(json={"count": 2}),
    ("POST", "/v1/search"): searches,
    ("POST", "/v1/recommend"): recommendations,
    ("GET", "/v1/ingest"): listed("job"),
    ("GET", "/v1/ingest/{job}"): EMPTY,
    ("GET", "/v1/ingest/{job}/errors"): EMPTY,
    ("POST", "/v1/ingest/{job}/resume"): EMPTY,
    ("POST", "/v1/ingest/{job}/cancel"): EMPTY,
    ("POST", "/v1/ingest"): ingest,
    ("GET", "/v1/batches"): listed("batch"),
    ("GET", "/v1/batches/{batch}"): EMPTY,
    ("POST", "/v1/batches/{batch}/cancel"): EMPTY,
    ("POST", "/v1/batches"): batch,
    ("DELETE", "/v1/collections/{collection}/documents/{document}"): EMPTY,
    ("PUT", "/v1/collections/{collection}/aliases/{alias}"): EMPTY,
    ("DELETE", "/v1/collections/{collection}/aliases/{alias}"): EMPTY,
    ("DELETE", "/v1/files/{picture}"): EMPTY,
    ("DELETE", "/v1/media/{picture}"): EMPTY,
    ("DELETE", "/v1/tenants/{tenant}/data"): EMPTY,
    ("GET", "/v1/tenants/{tenant}"): EMPTY,
    ("PUT", "/v1/tenants/{tenant}"): once(json={}),
    ("DELETE", "/v1/collections/{collection}"): EMPTY,
    ("POST", "/v1/collections/{collection}/documents"): once(json={"media_id": "<picture>"}),
    ("POST", "/v1/collections/{collection}/documents/batch"): once(
        json={"documents": [{"file_id": "<picture>"}]}
    ),
    ("POST", "/v1/collections"): once(json={"name": "<collection>", "index": {"kind": "flat"}}),
}

# Routes that take no id of anything that a tenant has.
WITHOUT_IDS = {
    ("GET", "/"),
    ("GET", "/assets/{name:path}"),
    ("GET", "/openapi.json"),
    ("GET", "/health"),
    ("GET", "/ready"),
    ("GET", "/metrics"),
    ("GET", "/v1/admin/pools"),
    ("GET", "/v1/models"),
    ("GET", "/v1/models/{model:path}"),
    ("POST", "/v1/audio/speech"),
    ("POST", "/v1/files"),
    ("POST", "/v1/media"),
    ("POST", "/v1/uploads"),
}

PARAMETERS = {"file_id": "picture", "media_id": "picture", "job_id": "job"}
RANDOM = re.compile(
    rb"[a-z]{2,8}[-_][0-9a-f]{24,96}|chatcmpl-[\w-]+|/v1/links/[\w.-]+|\d{9,}|\d{4}-\d\d-\d\dT[\d:+]+"
)


def named(template: str) -> str:
    """A route's path with the kinds of its parameters as their names."""

    def kind(found: re.Match[str]) -> str:
        return "{" + PARAMETERS.get(found[1], found[1].removesuffix("_id")) + "}"

    return template if ":path" in template else re.sub(r"\{(\w+)\}", kind, template)


@pytest.fixture
def config(config: GatewayConfig) -> GatewayConfig:
    return replace(
        config,
        access=AccessConfig("keys"),
        ingest=IngestConfig(first_delay_seconds=0.001, commit_wait_seconds=0.01, poll_seconds=0.05),
        batches=BatchConfig(checkpoint_seconds=0.02, poll_seconds=0.05),
    )


@pytest.fixture
async def platform(tmp_path: Path, config: GatewayConfig) -> AsyncIterator[Platform]:
    platform = build_platform(tmp_path, config)
    yield platform
    await platform.gateway.ingest.runner.aclose()
    await platform.gateway.batches.runner.aclose()


def client(platform: Platform, tenant: str) -> httpx2.AsyncClient:
    keys = KeyStore(platform.storage.objects, platform.gateway.config.cache_secret)
    http = http_client(platform)
    http.headers["authorization"] = f"Bearer {keys.create('', tenant, ALL_SCOPES - {'admin'})[1]}"
    return http


async def belongings(http: httpx2.AsyncClient) -> Ids:
    """One of everything; ``document`` is in ``collection``, ``alias`` points to it."""

    async def did(method: str, path: str, **request: Any) -> dict[str, Any]:
        answer = await http.request(method, path, **request)
        assert answer.status_code < 400, f"{path}: {answer.text}"
        found: dict[str, Any] = answer.json()
        return found

    async def stored(name: str, content: bytes, purpose: str = "user_data") -> str:
        form = {"files": {"file": (name, content)}, "data": {"purpose": purpose}}
        return str((await did("POST", "/v1/files", **form))["id"])

    line = {
        "custom_id": "1",
        "method": "POST",
        "url": "/v1/chat/completions",
        "body": {**SMALL, "messages": [{"role": "user", "content": "Hi"}]},
    }
    ids = {
        "picture": await stored("a.png", fake_png({"cat": 0.9}, ("SECRET",))),
        "sound": await stored("a.wav", fake_wav((0.0, 1.0, "SECRET"))),
        "video": await stored("a.mp4", fake_mp4([{"SECRET": 0.9}])),
        "list": await stored("a.jsonl", json.dumps(line).encode(), "batch"),
        "collection": "their-zoo",
        "alias": "their-animals",
        "document": "their-cat",
        "tenant": "their-tenant",
    }
    wanted = {"filename": "a", "purpose": "user_data", "bytes": 5, "mime_type": "text/plain"}
    ids["upload"] = (await did("POST", "/v1/uploads", json=wanted))["id"]
    ids["part"] = (await did("POST", f"/v1/uploads/{ids['upload']}/parts", files={"data": ("a", b"hello")}))[
        "id"
    ]
    path = "/v1/collections/their-zoo/documents"
    await did("POST", path, json={"text": "the SECRET cat", "id": "their-cat", "metadata": {"user_id": "u"}})
    await did("POST", path, json={"media_id": ids["picture"]})
    await did("PUT", "/v1/collections/their-zoo/aliases/their-animals")
    items = {"collection": "their-zoo", "items": [{"text": "a"}, {"file_id": MISSING["picture"]}]}
    ids["job"] = (await did("POST", "/v1/ingest", json=items))["id"]
    begun = {
        "input_file_id": ids["list"],
        "endpoint": "/v1/chat/completions",
        "completion_window": "24h",
    }
    ids["batch"] = (await did("POST", "/v1/batches", json=begun))["id"]
    response = await did("POST", "/v1/responses", json={"model": "default", "input": "SECRET", "store": True})
    ids["response"], ids["message"] = response["id"], response["output"][0]["id"]
    link = (await did("POST", f"/v1/files/{ids['picture']}/link"))["url"].rpartition("/")[2]
    ids["token"] = link[:-4] + (
        "AAAA" if link[-4:] != "AAAA" else "BBBB"
    )  # as it was given, it is good for all
    return ids


def shown(answer: httpx2.Response, ids: Ids) -> tuple[int, list[tuple[str, str]], bytes]:
    """All of an answer but what is random, a time, or the id that was asked for."""
    ours = [
        (name, RANDOM.sub(b"*", value.encode()).decode())
        for name, value in answer.headers.multi_items()
        if name not in ("x-request-id", "openai-processing-ms") and not name.startswith("x-ratelimit-")
    ]
    content = answer.content
    for word in sorted(ids.values(), key=len, reverse=True):
        content = content.replace(word.encode(), b"*")
    if answer.headers.get("content-length") == str(len(answer.content)):
        ours = [(name, "*" if name == "content-length" else value) for name, value in ours]
    return answer.status_code, ours, RANDOM.sub(b"*", content)


async def test_every_route_answers_for_another_tenants_ids_as_for_missing_ones(platform: Platform) -> None:
    served = {(method, named(route.path)) for route in platform.app.routes for method in route.methods}
    async with client(platform, "their-tenant") as first, client(platform, "second") as second:
        theirs = await belongings(first)
        await second.post("/v1/collections/mine/documents", json={"text": "mine", "id": "mine"})
        for method, template in MATRIX:
            if (method, template) not in served:
                continue
            for (_, foreign), (_, absent) in zip(
                MATRIX[method, template](theirs), MATRIX[method, template](MISSING), strict=True
            ):
                found = await second.request(method, template.format(**theirs), **foreign)
                wanted = await second.request(method, template.format(**MISSING), **absent)
                assert shown(found, theirs) == shown(wanted, MISSING), (method, template, foreign)
                assert b"unknown_parameter" not in found.content, (method, template, foreign)
                assert b"SECRET" not in found.content, (method, template)
                assert found.status_code < 500, (method, template, found.text)
        await platform.gateway.ingest.runner.idle()
        reports = [await errors(second, job["id"]) for job in (await second.get("/v1/ingest")).json()["data"]]
        assert (
            sorted(reports)[0::2] == sorted(reports)[1::2]
        )  # jobs over foreign and over missing media, in pairs
        # Nothing was done to what belongs to the first.
        for path in (f"/v1/files/{theirs['picture']}", "/v1/collections/their-zoo/documents/their-cat"):
            assert (await first.get(path)).status_code == 200, path
        done = await first.post(
            f"/v1/uploads/{theirs['upload']}/complete", json={"part_ids": [theirs["part"]]}
        )
        assert done.json()["status"] == "completed"
        query = {"collection": "their-animals", "query": {"type": "text", "content": "the SECRET cat"}}
        assert (await first.post("/v1/search", json=query)).json()["results"][0]["id"] == "their-cat"
        for kind, path in (("job", "ingest"), ("batch", "batches")):
            assert (await first.get(f"/v1/{path}/{theirs[kind]}")).json()["status"] != "cancelled"


async def errors(http: httpx2.AsyncClient, job_id: str) -> bytes:
    answer = await http.get(f"/v1/ingest/{job_id}/errors")
    return RANDOM.sub(b"*", answer.content)


async def test_heads_too(platform: Platform) -> None:
    async with client(platform, "their-tenant") as first, client(platform, "second") as second:
        form = {"files": {"file": ("a.png", fake_png())}}
        file_id = (await first.post("/v1/media", **form)).json()["id"]
        for route in platform.app.routes:
            if "HEAD" in route.methods and "{" in route.path and ("GET", route.path) not in WITHOUT_IDS:
                kind = re.search(r"\{(\w+)\}", route.path)
                assert kind is not None
                answers = [
                    await second.head(route.path.format(**{kind[1]: value}))
                    for value in (file_id, MISSING["picture"])
                ]
                assert shown(answers[0], {}) == shown(answers[1], {})
                assert answers[0].status_code == 404


def test_no_route_is_left_out(platform: Platform) -> None:
    """A new route stands in the matrix, or is said to take no ids."""
    served = {
        (method, named(route.path)) for route in platform.app.routes for method in route.methods - {"HEAD"}
    }
    assert served - MATRIX.keys() - WITHOUT_IDS == set()
    assert not MATRIX.keys() & WITHOUT_IDS
