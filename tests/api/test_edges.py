"""What one request may bring: exactly the limit is taken, one more is refused with the limit's name."""

from __future__ import annotations

import base64
import json
from collections.abc import Awaitable, Callable

import httpx2
import pytest
from fake_platform import http_client
from fake_services import fake_png
from search_requests import text

CHAT = {"model": "smollm2-135m-instruct", "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 4}
JSON = {"content-type": "application/json"}
PICTURE = fake_png({"cat": 0.8}, ())
Ask = Callable[[httpx2.AsyncClient, int], Awaitable[httpx2.Response]]


async def a_body(http, size):
    return await http.post(
        "/v1/chat/completions", content=json.dumps(CHAT).encode().ljust(size), headers=JSON
    )


async def a_file(http, size):
    form = {"files": {"file": ("a", b"x" * size)}, "data": {"purpose": "user_data"}}
    return await http.post("/v1/files", **form)


async def an_upload(http, size):
    announced = {"filename": "a", "purpose": "user_data", "bytes": size, "mime_type": "text/plain"}
    return await http.post("/v1/uploads", json=announced)


async def a_part(http, size):
    upload_id = (await an_upload(http, 1000)).json()["id"]
    return await http.post(f"/v1/uploads/{upload_id}/parts", files={"data": ("a", b"x" * size)})


async def media(http, count):
    return await with_pictures(http, [fake_png({f"cat{number}": 0.8}, ()) for number in range(count)])


async def with_pictures(http, pictures):
    urls = ["data:image/png;base64," + base64.b64encode(picture).decode() for picture in pictures]
    parts = [{"type": "image_url", "image_url": {"url": url}} for url in urls]
    content = [{"type": "text", "text": "What is this?"}, *parts]
    return await http.post(
        "/v1/chat/completions", json={**CHAT, "messages": [{"role": "user", "content": content}]}
    )


async def words(http, characters):
    message = {"role": "user", "content": "x" * characters}
    return await http.post("/v1/chat/completions", json={**CHAT, "messages": [message]})


async def embedded(http, inputs):
    return await http.post("/v1/embeddings", json={"model": "all-minilm-l6-v2", "input": inputs})


async def inputs_to_embed(http, count):
    return await embedded(http, ["x"] * count)


async def characters_to_embed(http, count):
    return await embedded(http, ["x" * (count - 3), "xxx"])


async def hits(http, count):
    await http.post("/v1/collections/default/documents", json={"text": "red"})
    return await http.post("/v1/search", json={"query": text("red"), "top_k": count})


@pytest.mark.parametrize(
    ("limit", "at", "ask", "status"),
    [
        ("max_body_bytes", 500, a_body, 413),
        ("max_file_bytes", 500, a_file, 400),
        ("max_upload_bytes", 500, an_upload, 400),
        ("max_part_bytes", 500, a_part, 413),
        ("max_media_per_request", 3, media, 400),
        ("max_text_characters", 50, words, 400),
        ("max_embedding_inputs", 5, inputs_to_embed, 400),
        ("max_embedding_characters", 50, characters_to_embed, 400),
        ("max_top_k", 7, hits, 400),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
async def test_below_at_and_above(platform_with, limit: str, at: int, ask: Ask, status: int):
    async with http_client(platform_with(**{limit: at})) as http:
        for size in (at - 1, at):
            answer = await ask(http, size)
            assert answer.status_code == 200, answer.text
        refused(await ask(http, at + 1), status, limit)


async def test_a_medium_below_at_and_above(platform_with):
    async with http_client(platform_with(max_media_bytes=len(PICTURE) - 1)) as http:
        refused(await with_pictures(http, [PICTURE]), 400, "max_media_bytes")
    for limit in (len(PICTURE), len(PICTURE) + 1):
        async with http_client(platform_with(max_media_bytes=limit)) as http:
            assert (await with_pictures(http, [PICTURE])).status_code == 200


def refused(answer: httpx2.Response, status: int, limit: str) -> None:
    assert answer.status_code == status, answer.text
    assert limit in answer.json()["error"]["message"]
