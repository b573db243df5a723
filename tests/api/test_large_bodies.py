"""Bodies of many fields and items are refused before they cost much; forms that break off leave no files."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator
from importlib import import_module
from pkgutil import iter_modules
from typing import Any

import pytest
from fake_platform import http_client

import serving.protocol
from serving.errors import InvalidRequest
from serving.protocol.parse import MAX_VALUES, decode_json, validated

CHAT = {"model": "smollm2-135m-instruct", "messages": [{"role": "user", "content": "Hello"}]}


def body(value: object) -> bytes:
    return json.dumps(value).encode()


@pytest.mark.parametrize(
    "hostile",
    [
        {**CHAT, **{f"x{number}": 1 for number in range(200_000)}},
        {**CHAT, "messages": [{"role": "user", "content": ""}] * 100_000},
        {**CHAT, "stop": ["x"] * 100_000},
        {**CHAT, "metadata": {f"x{number}": {} for number in range(100_000)}},
        {**CHAT, "tools": [None] * 100_000},
    ],
    ids=["fields", "messages", "texts", "metadata", "nulls"],
)
async def test_many_values(platform_with, hostile):
    platform = platform_with(max_body_bytes=96 << 20)
    async with http_client(platform) as http:
        for path in ("/v1/chat/completions", "/v1/embeddings"):
            answer = await http.post(
                path, content=body(hostile), headers={"content-type": "application/json"}
            )
            assert answer.status_code == 400
            assert answer.json()["error"]["code"] == "invalid_json"


def test_values_at_and_above_the_edge():
    assert decode_json(body({"a": [""] * (MAX_VALUES - 1)}))
    with pytest.raises(InvalidRequest, match=str(MAX_VALUES)):
        decode_json(body({"a": [""] * MAX_VALUES}))
    assert decode_json(body({"a": list(range(MAX_VALUES * 4))}))  # tokens


def test_depth_at_and_above_the_edge():
    for depth, fits in ((63, True), (64, False), (900, False), (90_000, False)):
        nested = b'{"a":' + b"[" * depth + b"]" * depth + b"}"
        if fits:
            assert decode_json(nested)
        else:
            with pytest.raises(InvalidRequest, match="deeply"):
                decode_json(nested)
    with pytest.raises(InvalidRequest, match="deeply"):
        decode_json(b'{"a":' * 70 + b"1" + b"}" * 70)


async def test_a_hundred_thousand_wrong_items_of_an_ingest_are_one_error(platform_with):
    async with http_client(platform_with(max_body_bytes=96 << 20)) as http:
        answer = await http.post("/v1/ingest", json={"items": [7] * 100_000})
        assert answer.status_code == 400
        assert answer.json()["error"]["param"] == "items[0]"


class Broken(Exception):
    pass


async def test_a_form_that_breaks_off_leaves_no_file(http):
    def files() -> int:
        return len(os.listdir("/proc/self/fd"))

    async def broken():
        yield b'--x\r\ncontent-disposition: form-data; name="file"; filename="a"\r\n\r\n' + bytes(50_000)
        raise Broken

    before = files()
    for _ in range(20):
        kind = {"content-type": "multipart/form-data; boundary=x"}
        answer = await http.post("/v1/files", content=broken(), headers=kind)
        assert answer.status_code == 500
    assert files() <= before + 2


def endless(schema: Any, path: str = "") -> Iterator[str]:
    """The lists of a model that collect an error for each item."""
    if isinstance(schema, dict):
        a_list = schema.get("type") == "list" and "items_schema" in schema
        if a_list and not schema.get("fail_fast") and not schema.get("max_length"):
            yield path
        for name, below in schema.items():
            if name not in ("metadata", "serialization"):
                yield from endless(below, f"{path}.{name}")
    elif isinstance(schema, list | tuple):
        for below in schema:
            yield from endless(below, path)


def test_no_list_of_a_request_collects_endless_errors(platform):
    """A list of a million numbers, which are not counted, would take a minute."""
    document = platform.app.openapi()
    names = {
        content["schema"]["$ref"].rpartition("/")[2]
        for methods in document["paths"].values()
        for route in methods.values()
        for kind, content in route.get("requestBody", {}).get("content", {}).items()
        if kind == "application/json" and "$ref" in content["schema"]
    }
    modules = [
        import_module(f"serving.protocol.{one.name}") for one in iter_modules(serving.protocol.__path__)
    ]
    models = {name: getattr(module, name) for module in modules for name in names if hasattr(module, name)}
    assert set(models) == names >= {"ChatRequest", "ResponseRequest", "SearchRequest"}
    found = {name: list(endless(model.__pydantic_core_schema__)) for name, model in models.items()}
    # Lists of any JSON values: no item can be wrong.
    assert {
        name for name, paths in found.items() for path in paths if "python_schema.choices.list" not in path
    } == set()


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/responses", "/v1/embeddings"])
async def test_many_errors_are_found_beside_the_event_loop(platform_with, monkeypatch, path):
    seen: list[threading.Thread] = []

    def noted(*arguments, **more):
        seen.append(threading.current_thread())
        return validated(*arguments, **more)

    monkeypatch.setattr("serving.routes.body.validated", noted)
    fields = {f"unknown_field_{number}": number for number in range(8_000)}
    async with http_client(platform_with(max_body_bytes=1 << 20)) as http:
        answer = await http.post(path, json={"model": "default", "input": "a", **CHAT, **fields})
    assert answer.status_code == 400
    assert len(seen) == 1
    assert seen[0] is not threading.main_thread()
