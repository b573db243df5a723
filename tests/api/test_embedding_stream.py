"""Embeddings of texts that come line by line, and go out as they are ready."""

from __future__ import annotations

import asyncio
import base64
import json

import httpx
import numpy as np
import pytest
from fake_platform import http_client, serving
from fake_services import fake_embedding

from encoders.errors import EncoderOverloaded
from serving import body_lines

MODEL = "all-minilm-l6-v2"
NDJSON = {"content-type": "application/x-ndjson"}


def ndjson(*lines: object) -> bytes:
    return b"".join(
        (line if isinstance(line, bytes) else json.dumps(line).encode()) + b"\n" for line in lines
    )


async def stream(http, *lines: object, body: bytes | None = None, **params) -> list[dict]:
    content = ndjson(*lines) if body is None else body
    answer = await http.post("/v1/embeddings", params=params, content=content, headers=NDJSON)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/x-ndjson"
    assert answer.headers["cache-control"] == "no-cache"
    return [json.loads(line) for line in answer.text.splitlines()]


def long_text(passages: int) -> str:
    return " ".join(
        f"Sentence {number} has exactly ten words in it, not more." for number in range(15 * passages)
    )


async def work_begun(platform) -> None:
    for _ in range(1000):
        if platform.perception.calls.get("embed_texts"):
            return
        await asyncio.sleep(0.01)
    raise AssertionError("nothing was embedded")


async def test_short_texts_get_the_vectors_that_they_get_elsewhere(http):
    one, two, summary = await stream(
        http, {"id": "a", "input": "a red  house"}, b"", b"  \r", {"input": "a blue car", "id": 7}
    )
    assert (one["index"], one["id"], two["index"], two["id"]) == (0, "a", 1, 7)
    body = {"model": MODEL, "input": ["a red  house", "a blue car"]}
    listed = (await http.post("/v1/embeddings", json=body)).json()["data"]
    assert [one["embedding"], two["embedding"]] == [item["embedding"] for item in listed]
    assert (one["passage"], one["last"], one["start"], one["end"], one["tokens"]) == (0, True, 0, 12, 3)
    usage = {"prompt_tokens": 6, "total_tokens": 6}
    assert summary == {
        "object": "summary",
        "model": MODEL,
        "lines": 2,
        "embeddings": 2,
        "errors": 0,
        "usage": usage,
    }


async def test_nothing_at_all_is_summed_up(http):
    (summary,) = await stream(http, body=b"")
    assert (summary["lines"], summary["embeddings"]) == (0, 0)


async def test_long_texts_come_passage_by_passage(http):
    text = long_text(100)
    *parts, summary = await stream(http, {"id": "book", "input": text}, {"input": "the end"})
    book, end = parts[:-1], parts[-1]
    assert [part["passage"] for part in book] == list(range(100))
    assert [part["last"] for part in book] == [False] * 99 + [True]
    assert {part["id"] for part in book} == {"book"}
    for part in book:
        np.testing.assert_allclose(
            part["embedding"], fake_embedding(text[part["start"] : part["end"]]), atol=1e-6
        )
    covered = " ".join(text[part["start"] : part["end"]] for part in book)
    assert covered == text
    assert end["last"]
    assert (summary["lines"], summary["embeddings"]) == (2, 101)


@pytest.mark.parametrize("passages", [31, 32, 33, 64])
async def test_the_last_passage_says_so(http, passages):
    *parts, _ = await stream(http, {"input": long_text(passages)})
    assert [part["last"] for part in parts] == [False] * (passages - 1) + [True]


@pytest.mark.parametrize(
    ("line", "param", "code"),
    [
        (b"{", None, "invalid_json"),
        (b"[1]", None, "invalid_json"),
        (b'"text"', None, "invalid_json"),
        (b"\xff", None, "invalid_json"),
        ({}, "input", "missing_required_parameter"),
        ({"input": 5}, "input", "invalid_type"),
        ({"input": ["a"]}, "input", "invalid_type"),
        ({"input": " \n"}, "input", "invalid_value"),
        ({"input": "a", "id": []}, "id", "invalid_type"),
        ({"input": "a", "id": "x" * 129}, "id", "invalid_value"),
        ({"input": "a", "model": MODEL}, "model", "unknown_parameter"),
    ],
)
async def test_a_bad_line_is_answered_and_the_stream_goes_on(http, line, param, code):
    before, error, after, summary = await stream(http, {"input": "a"}, line, {"input": "b"})
    assert (error["object"], error["index"]) == ("error", 1)
    assert (error["error"]["param"], error["error"]["code"]) == (param, code)
    assert (before["index"], after["index"]) == (0, 2)
    assert (summary["lines"], summary["embeddings"], summary["errors"]) == (3, 2, 1)


async def test_lines_are_bounded(platform_with):
    async with http_client(platform_with(max_line_bytes=1000)) as http:
        fits = ndjson({"input": "x" * (1000 - len(ndjson({"input": ""})) + 1)}).strip()
        assert len(fits) == 1000
        over = fits.replace(b"xx", b"xxx", 1)
        kept, error, after, summary = await stream(http, fits, over, {"input": "b"})
        assert kept["index"] == 0
        assert (error["index"], error["error"]["code"]) == (1, "limit_exceeded")
        assert "max_line_bytes" in error["error"]["message"]
        assert after["index"] == 2
        # Far over, over several pieces, and as the last line without an end.
        *_, error, summary = await stream(http, body=ndjson({"input": "a"}) + b"x" * 1_000_000)
        assert (error["index"], error["error"]["code"]) == (1, "limit_exceeded")
        assert summary["errors"] == 1


async def test_the_stream_as_a_whole_is_bounded(platform_with):
    platform = platform_with(max_upload_bytes=50_000, max_body_bytes=10)

    async def pieces():
        for _ in range(100):
            yield ndjson({"input": "word " * 200})

    async with http_client(platform) as http:
        answer = await http.post("/v1/embeddings", content=pieces(), headers=NDJSON)
        *_, error, summary = [json.loads(line) for line in answer.text.splitlines()]
        assert error["error"]["code"] == "body_too_large"
        assert "max_upload_bytes" in error["error"]["message"]
        assert summary["errors"] == 1
        assert summary["lines"] == 49  # what came before was worked on
        answer = await http.post(
            "/v1/embeddings", content=b"x" * 11, headers={"content-type": "application/json"}
        )
        assert answer.status_code == 413


async def test_settings_come_in_the_address(http):
    (one, _) = await stream(
        http, {"input": "a red house"}, model=MODEL, encoding_format="base64", dimensions=384
    )
    vector = np.frombuffer(base64.b64decode(one["embedding"]), "<f4")
    np.testing.assert_array_equal(vector, fake_embedding("a red house"))


@pytest.mark.parametrize(
    ("params", "status", "param"),
    [
        ({"model": "other"}, 404, "model"),
        ({"dimensions": 128}, 400, "dimensions"),
        ({"dimensions": 0}, 400, "dimensions"),
        ({"encoding_format": "hex"}, 400, "encoding_format"),
    ],
)
async def test_bad_settings_are_refused_before_the_stream_begins(http, params, status, param):
    answer = await http.post("/v1/embeddings", params=params, content=ndjson({"input": "a"}), headers=NDJSON)
    assert (answer.status_code, answer.json()["error"]["param"]) == (status, param)


async def test_busy_encoders_fail_the_inputs_of_that_moment(platform, http):
    platform.perception.failure = EncoderOverloaded("The encoders are busy.")
    error, other, summary = await stream(http, {"input": long_text(40), "id": "book"}, {"input": "b"})
    assert (error["object"], error["id"], error["error"]["code"]) == ("error", "book", "encoders_overloaded")
    assert other["index"] == 1
    assert (summary["lines"], summary["embeddings"], summary["errors"]) == (2, 0, 2)
    platform.perception.failure = RuntimeError("secret")
    error, _ = await stream(http, {"input": "c"})
    assert error["error"]["code"] == "internal_error"
    assert "secret" not in json.dumps(error)


async def test_answers_come_before_the_next_line_is_sent(platform):
    """A real connection, so that both directions flow at once."""
    with serving(platform) as url:
        answered = asyncio.Event()

        async def lines():
            yield ndjson({"input": "first"})
            await asyncio.wait_for(answered.wait(), 10)
            yield ndjson({"input": "second"})

        reader, writer = await asyncio.open_connection("127.0.0.1", int(url.rsplit(":", 1)[1]))
        writer.write(
            b"POST /v1/embeddings HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-ndjson\r\n"
            b"Transfer-Encoding: chunked\r\n\r\n"
        )
        async for line in lines_as_chunks(lines(), reader, answered):
            writer.write(line)
        rest = await asyncio.wait_for(reader.readuntil(b"0\r\n\r\n"), 10)
        assert b'"index":1' in rest
        assert b'"lines":2' in rest
        writer.close()


async def lines_as_chunks(lines, reader, answered):
    async for line in lines:
        yield b"%x\r\n%s\r\n" % (len(line), line)
        if not answered.is_set():
            found = await asyncio.wait_for(reader.readuntil(b'"embedding":['), 10)
            assert b'"index":0' in found
            answered.set()
    yield b"0\r\n\r\n"


async def test_a_client_may_send_everything_before_it_reads(platform):
    """More in each direction than sockets hold: nobody waits for the other."""
    count = 20_000
    body = ndjson(*({"input": f"text {number} " + "x" * 2000} for number in range(count)))

    def talk(url: str) -> list[bytes]:
        return httpx.post(
            f"{url}/v1/embeddings", content=body, headers=NDJSON, timeout=60
        ).content.splitlines()

    with serving(platform) as url:
        lines = await asyncio.to_thread(talk, url)
    assert len(lines) == count + 1
    assert json.loads(lines[-1])["embeddings"] == count


async def test_work_ends_when_the_client_is_gone(platform):
    platform.perception.wait = asyncio.Event()
    with serving(platform) as url:
        reader, writer = await asyncio.open_connection("127.0.0.1", int(url.rsplit(":", 1)[1]))
        body = ndjson(*({"input": f"text {number}"} for number in range(1000)))
        head = (
            "POST /v1/embeddings HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-ndjson\r\n"
            f"Content-Length: {len(body)}\r\n\r\n"
        )
        writer.write(head.encode() + body)
        await writer.drain()
        await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 10)
        await work_begun(platform)
        writer.transport.abort()
        metrics = ""
        async with httpx.AsyncClient() as client:
            for _ in range(500):
                metrics = (await client.get(f"{url}/metrics")).text
                if 'manymodal_requests_total{endpoint="/v1/embeddings"' in metrics:
                    break
                await asyncio.sleep(0.01)
        assert 'manymodal_requests_total{endpoint="/v1/embeddings"' in metrics
    assert platform.perception.calls["embed_texts"] == 1


async def test_a_client_that_sends_nothing_is_given_up(platform_with):
    async def pieces():
        yield ndjson({"input": "a"})
        await asyncio.sleep(5)
        yield b""

    async with http_client(platform_with(answer_timeout_seconds=0.2)) as http:
        async with asyncio.timeout(4):
            answer = await http.post("/v1/embeddings", content=pieces(), headers=NDJSON)
        one, error, _ = [json.loads(line) for line in answer.text.splitlines()]
        assert one["object"] == "embedding"
        assert error["error"]["code"] == "service_unavailable"


async def test_a_full_disk_is_said_after_what_came_before(platform, http, monkeypatch):
    monkeypatch.setattr(body_lines, "_MEMORY_BYTES", 1000)

    async def pieces():
        yield ndjson({"input": "a"})
        yield ndjson({"input": "x" * 2000})

    (platform.root / "spool").rmdir()
    answer = await http.post("/v1/embeddings", content=pieces(), headers=NDJSON)
    one, error, summary = [json.loads(line) for line in answer.text.splitlines()]
    assert one["object"] == "embedding"
    assert error["error"]["code"] == "store_unavailable"
    assert summary["errors"] == 1


async def test_what_waits_is_bounded(platform, monkeypatch):
    monkeypatch.setattr(body_lines, "_MAX_SPOOL_BYTES", 2000)
    taken = 0

    async def pieces():
        nonlocal taken
        for number in range(200):
            taken += 1
            yield ndjson({"input": f"text {number} " + "x" * 100})

    platform.perception.wait = asyncio.Event()
    async with http_client(platform) as http:
        asking = asyncio.create_task(http.post("/v1/embeddings", content=pieces(), headers=NDJSON))
        await work_begun(platform)
        for _ in range(50):
            await asyncio.sleep(0.002)
        assert taken < 150
        platform.perception.wait.set()
        lines = (await asking).text.splitlines()
    assert len(lines) == 201


async def test_the_document_of_the_interface_says_it(http):
    document = (await http.get("/openapi.json")).json()
    operation = document["paths"]["/v1/embeddings"]["post"]
    assert set(operation["requestBody"]["content"]) == {"application/json", "application/x-ndjson"}
    assert {"model", "dimensions", "encoding_format"} <= {one["name"] for one in operation["parameters"]}
    assert "EmbeddingLine" in document["components"]["schemas"]
