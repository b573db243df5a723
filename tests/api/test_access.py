"""Keys on every route: who comes in, what for, and how the others are told."""

from __future__ import annotations

import re
from dataclasses import replace

import openai
import pytest
from fake_platform import Platform, build_platform, http_client, openai_client
from fake_services import fake_png

from serving.access.config import AccessConfig
from serving.access.keys import KeyStore
from serving.access.route_scopes import ROUTE_SCOPES
from serving.audit.verification import entries, verify_audit
from serving.identity import ALL_SCOPES, CALLER_KEY, Caller, Scope

MESSAGES = [{"role": "user", "content": "Hi"}]
CHAT = {"json": {"model": "default", "messages": MESSAGES}}


@pytest.fixture
def platform(tmp_path, config) -> Platform:
    return build_platform(tmp_path, replace(config, access=AccessConfig("keys")))


def keys_of(platform: Platform) -> KeyStore:
    return KeyStore(platform.storage.objects, platform.gateway.config.cache_secret)


def new_key(platform: Platform, *scopes: Scope, tenant: str = "default") -> dict[str, str]:
    _, text = keys_of(platform).create("", tenant, scopes or ALL_SCOPES)
    return {"authorization": f"Bearer {text}"}


def test_every_route_is_in_the_table(platform):
    missing = [
        (method, route.path)
        for route in platform.app.routes
        for method in route.methods - {"HEAD"}
        if (method, re.sub(r"\{[^}]*\}", "{}", route.path)) not in ROUTE_SCOPES
    ]
    assert missing == []


async def test_no_route_answers_without_a_key_but_those_that_say_so(http, platform):
    key = new_key(platform)
    open_routes = set()
    for route in platform.app.routes:
        path = re.sub(r"\{[^}]*\}", "x", route.path)
        for method in route.methods:
            answer = await http.request(method, path)
            if answer.status_code != 401:
                open_routes.add(f"{method} {route.path}")
                continue
            assert answer.headers["www-authenticate"].startswith("Bearer")
            if method != "HEAD":
                error = answer.json()["error"]
                assert (error["code"], error["type"], error["param"]) == (
                    "invalid_api_key",
                    "invalid_request_error",
                    None,
                )
            assert (await http.request(method, path, headers=key)).status_code != 401
    read = {"/v1/links/{token}", "/", "/assets/{name:path}"}
    assert open_routes == {"GET /health", "GET /ready"} | {
        f"{how} {path}" for how in ("GET", "HEAD") for path in read
    }
    assert (await http.get("/v1/nothing")).status_code == 401
    assert (await http.get("/v1/nothing", headers=key)).status_code == 404
    assert (await http.patch("/v1/models", headers=key)).status_code == 405


async def test_a_key_is_good_for_its_scopes_only(http, platform):
    keys = {scope: new_key(platform, scope) for scope in ALL_SCOPES}
    for route in platform.app.routes:
        path = re.sub(r"\{[^}]*\}", "x", route.path)
        for method in route.methods - {"HEAD"}:
            needed = ROUTE_SCOPES[method, re.sub(r"\{[^}]*\}", "{}", route.path)]
            if needed in ("any", "nothing"):
                continue
            for scope, headers in keys.items():
                if scope != needed:
                    answer = await http.request(method, path, headers=headers)
                    assert answer.status_code == 403, (method, path, scope)
                    assert answer.json()["error"]["code"] == "insufficient_permissions"
                    assert needed in answer.json()["error"]["message"]
    assert (await http.post("/v1/chat/completions", headers=keys["chat"], **CHAT)).status_code == 200
    assert (await http.get("/metrics", headers=keys["admin"])).status_code == 200


async def test_bodies_of_strangers_are_not_read(platform):
    read = []

    async def receive():
        read.append(True)
        return {"type": "http.request", "body": b"{}", "more_body": True}

    sent = []

    async def send(message):
        sent.append(message)

    scope = {
        "type": "http",
        "method": "POST",
        "path": "/v1/files",
        "headers": [(b"host", b"localhost"), (b"content-length", b"100000000")],
        "query_string": b"",
        "root_path": "",
    }
    await platform.app(scope, receive, send)
    assert (sent[0]["status"], read) == (401, [])


async def test_a_header_makes_nobody_a_caller(http):
    answer = await http.get("/v1/files", headers={CALLER_KEY: "x", "x-tenant": "default"})
    assert answer.status_code == 401


async def test_requests_of_the_gateway_itself(platform):
    """Set in the ASGI scope, which no client reaches; scopes hold all the same."""

    async def answered(caller: Caller) -> int:
        async def app(scope, receive, send):
            await platform.app({**scope, CALLER_KEY: caller}, receive, send)

        inner = replace_app(platform, app)
        async with http_client(inner) as http:
            return (await http.get("/v1/files")).status_code

    assert await answered(Caller("acme", internal=True)) == 200
    assert await answered(Caller("acme", frozenset({"chat"}), internal=True)) == 403


def replace_app(platform: Platform, app) -> Platform:
    return replace(platform, app=app)


async def test_each_key_sees_its_tenant(http, platform):
    first, second = new_key(platform, "files", tenant="first"), new_key(platform, "files", tenant="second")
    form = {"files": {"file": ("a.png", fake_png())}}
    file_id = (await http.post("/v1/media", headers=first, **form)).json()["id"]
    assert (await http.get(f"/v1/media/{file_id}", headers=first)).status_code == 200
    assert (await http.get(f"/v1/media/{file_id}", headers=second)).status_code == 404
    link = (await http.post(f"/v1/files/{file_id}/link", headers=first)).json()["url"]
    assert (await http.get(link)).content == fake_png()


async def test_the_official_client(platform):
    key = new_key(platform)["authorization"].removeprefix("Bearer ")
    async with openai_client(http_client(platform)) as client:
        with pytest.raises(openai.AuthenticationError) as refused:
            await client.chat.completions.create(model="default", messages=MESSAGES)
        assert refused.value.code == "invalid_api_key"
        answer = await client.with_options(api_key=key).chat.completions.create(
            model="default", messages=MESSAGES
        )
        assert answer.choices[0].message.content
        narrow = new_key(platform, "files")["authorization"].removeprefix("Bearer ")
        with pytest.raises(openai.PermissionDeniedError):
            await client.with_options(api_key=narrow).chat.completions.create(
                model="default", messages=MESSAGES
            )


async def test_names_of_this_server_where_keys_are_needed(tmp_path, config, http, platform):
    for host in ("models.example", "10.1.2.3:8000", "[2001:db8::1]"):
        assert (await http.get("/health", headers={"host": host})).status_code == 200
    assert (await http.get("/health", headers={"host": "a b"})).status_code == 400
    listed = replace(config, access=AccessConfig("keys"), allowed_hosts=("models.example",))
    async with http_client(build_platform(tmp_path, listed)) as other:
        for host, status in (("models.example", 200), ("10.1.2.3:8000", 200), ("x.example", 400)):
            assert (await other.get("/health", headers={"host": host})).status_code == status


async def test_auto_closes_when_a_key_is_made(tmp_path, config):
    access = AccessConfig("auto", fresh_seconds=0.0, stale_seconds=0.0)
    platform = build_platform(tmp_path, replace(config, access=access))
    async with http_client(platform) as http:
        assert (await http.post("/v1/chat/completions", **CHAT)).status_code == 200
        key = new_key(platform)
        assert (await http.post("/v1/chat/completions", **CHAT)).status_code == 401
        assert (await http.post("/v1/chat/completions", headers=key, **CHAT)).status_code == 200


async def test_what_the_audit_log_says_of_requests(http, platform):
    """Who, what, how it ended; nothing of what was sent."""
    key = new_key(platform, tenant="acme")
    async with platform.app.router.lifespan_context(platform.app):
        form = {"files": {"file": ("SECRET-name.png", fake_png())}}
        file_id = (await http.post("/v1/files", headers=key, **form, data={"purpose": "vision"})).json()["id"]
        await http.get(f"/v1/files/{file_id}", headers=key)
        await http.get(f"/v1/files/{file_id}?SECRET=query")
        await http.get("/v1/SECRET-path", headers=key)
        await http.delete("/v1/collections/default/documents/SECRET-id", headers=key)
        secret = [{"role": "user", "content": "SECRET-prompt"}]
        await http.post("/v1/chat/completions", headers=key, json={"model": "default", "messages": secret})
        await http.get("/health")
        link = (await http.post(f"/v1/files/{file_id}/link", headers=key)).json()["url"]
        await http.get(link)
    objects = platform.storage.objects
    noted = [entry for entry in entries(objects) if entry["kind"] == "request"]
    key_id = key["authorization"].split("_")[1]
    assert [(entry["tenant"], entry["key"], entry["route"], entry["status"]) for entry in noted] == [
        ("acme", key_id, "/v1/files", 200),
        ("acme", key_id, "/v1/files/{file_id}", 200),
        (None, None, "/v1/files/{file_id}", 401),
        ("acme", key_id, "unmatched", 404),
        ("acme", key_id, "/v1/collections/{collection}/documents/{document_id}", 200),
        ("acme", key_id, "/v1/chat/completions", 200),
        ("acme", key_id, "/v1/files/{file_id}/link", 200),
        (None, None, "/v1/links/{token}", 200),
    ]
    assert noted[1]["ids"] == {"file_id": file_id}
    assert verify_audit(objects, platform.gateway.config.cache_secret).clean
    stored = b"".join(objects.get(key) for key in platform.stored_keys("audit/"))
    token = link.rpartition("/")[2]
    assert b"SECRET" not in stored
    assert token.encode() not in stored
