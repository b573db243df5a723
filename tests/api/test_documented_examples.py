"""The requests that the API reference shows (``docs/hooks/examples.yaml``): there is one for each route that takes
JSON, and a platform takes every one of them.
"""

from __future__ import annotations

import base64
import json
from typing import Any

import api_reference
import httpx2
from documents import REPOSITORY
from fake_platform import Platform
from fake_services import fake_mp4, fake_png, fake_wav

from serving.app import describe_routes

EXAMPLES = api_reference.read_examples((REPOSITORY / "docs/hooks/examples.yaml").read_text("utf-8"))
PICTURE = "file-0123456789abcdef0123456789abcdef"
SOUND = "file-50d00123456789abcdef0123456abcdef"
VIDEO = "file-11d00123456789abcdef0123456abcdef"
LIST = "file-11570123456789abcdef0123456abcdef"
UPLOAD, PART = "upload_0123456789abcdef0123456789abcdef", "part_0123456789abcdef"
A_LINE = {"custom_id": "a", "method": "POST", "url": "/v1/chat/completions"}
A_CHAT = {"model": "default", "messages": [{"role": "user", "content": "Hello"}]}


def test_there_is_one_for_every_route_that_takes_json() -> None:
    paths = describe_routes()["paths"]
    takes_json = {
        f"{method.upper()} {path}"
        for path, methods in paths.items()
        for method, operation in methods.items()
        if "application/json" in operation.get("requestBody", {}).get("content", {})
    }
    assert set(EXAMPLES) == takes_json


def test_the_document_without_a_platform_is_that_of_one(platform: Platform) -> None:
    assert platform.app.openapi() == describe_routes()


async def stored(http: httpx2.AsyncClient, name: str, content: bytes, purpose: str = "user_data") -> str:
    got = await http.post("/v1/files", files={"file": (name, content)}, data={"purpose": purpose})
    assert got.status_code == 200, got.text
    return str(got.json()["id"])


async def an_upload(http: httpx2.AsyncClient) -> tuple[str, str]:
    wanted = {"filename": "a.txt", "purpose": "user_data", "bytes": 3, "mime_type": "text/plain"}
    upload = (await http.post("/v1/uploads", json=wanted)).json()["id"]
    part = await http.post(f"/v1/uploads/{upload}/parts", files={"data": b"abc"})
    assert part.status_code == 200, part.text
    return upload, part.json()["id"]


def put_in(value: Any, places: dict[str, str]) -> Any:
    written = json.dumps(value)
    for place, real in places.items():
        written = written.replace(place, real)
    return json.loads(written)


async def test_a_platform_takes_them(http: httpx2.AsyncClient) -> None:
    picture = fake_png({"cat": 0.9})
    upload, part = await an_upload(http)
    places = {
        PICTURE: await stored(http, "cat.png", picture),
        SOUND: await stored(http, "talk.wav", fake_wav((0.5, 1.5, "we decided to go"))),
        VIDEO: await stored(http, "film.mp4", fake_mp4([{"dog": 0.9}, {"cat": 0.8}], (0.5, 1.5, "look"))),
        LIST: await stored(http, "asks.jsonl", json.dumps({**A_LINE, "body": A_CHAT}).encode(), "batch"),
        UPLOAD: upload,
        PART: part,
        EXAMPLES["POST /v1/media"]["data"]: f"data:image/png;base64,{base64.b64encode(picture).decode()}",
    }
    refused = {}
    for route, body in EXAMPLES.items():
        method, path = route.split(" ", 1)
        where = put_in(api_reference.filled(path), places)
        got = await http.request(method, where, json=put_in(body, places))
        if got.status_code not in (200, 201):
            refused[route] = (got.status_code, got.text)
    assert not refused


def test_they_are_shown() -> None:
    guide = (REPOSITORY / "docs/api.md").read_text("utf-8")
    shown = "".join(api_reference.pages(describe_routes(), guide, EXAMPLES).values())
    for route in EXAMPLES:
        method, path = route.split(" ", 1)
        assert f"## `{method} {path}`" in shown
        assert f"http://127.0.0.1:8000{api_reference.filled(path)} " in shown
