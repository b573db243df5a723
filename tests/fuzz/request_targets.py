"""What clients send: bodies of JSON, forms, lists, filters, schemas, headers, keys, tokens of links and pages."""

from __future__ import annotations

import asyncio
import io
import json
import math
from collections.abc import Callable
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any, cast

import msgspec
import pyarrow as pa
from pyarrow import parquet
from pydantic import BaseModel
from starlette.requests import Request

from fuzz.target import Target
from serving.access.keys import split_key
from serving.batches.config import BatchConfig
from serving.batches.lines import check, lines_of
from serving.byte_range import NOT_SATISFIABLE, matches_etag, read_range
from serving.engines.placeholders import PlaceholderBreaker
from serving.errors import ApiError, InvalidRequest, LimitExceeded
from serving.ingest.manifests import entries_of, format_of
from serving.json_schemas import check_schema
from serving.protocol.batches import CreateBatchRequest
from serving.protocol.chat import ChatRequest
from serving.protocol.collections import ClusterRequest, CollectionRequest, DocumentRequest
from serving.protocol.embeddings import EmbeddingRequest
from serving.protocol.ingest import BatchRequest, IngestRequest
from serving.protocol.moderations import ModerationRequest
from serving.protocol.parse import decode_json, validated
from serving.protocol.responses import ResponseRequest
from serving.protocol.search import RecommendRequest, SearchFilters, SearchRequest
from serving.protocol.speech import SpeechRequest
from serving.protocol.tenants import TenantRequest
from serving.protocol.understanding import AudioUnderstandingRequest, VideoAnalysisRequest
from serving.protocol.uploads import CompleteRequest, UploadRequest
from serving.retrieval.cursor import CursorSigner, Position
from serving.retrieval.filters import condition_of, date_bounds
from serving.routes.body import open_form
from storage.errors import LinkNotFound
from storage.links import LinkSigner

__all__ = ["REQUEST_TARGETS"]

_MODELS: tuple[type[BaseModel], ...] = (
    *(ChatRequest, ResponseRequest, EmbeddingRequest, ModerationRequest, SpeechRequest, CreateBatchRequest),
    *(
        SearchRequest,
        RecommendRequest,
        CollectionRequest,
        DocumentRequest,
        ClusterRequest,
        IngestRequest,
        BatchRequest,
    ),
    *(TenantRequest, VideoAnalysisRequest, AudioUnderstandingRequest, UploadRequest, CompleteRequest),
)
_ENDPOINT = "/v1/embeddings"
_WORDS = ("<image>", "<|image_pad|>")
_BREAKER = PlaceholderBreaker(_WORDS)
_CURSORS, _LINKS = CursorSigner(bytes(32)), LinkSigner(bytes(32), lambda: 1000.0)
_SEARCH = validated(SearchRequest, {"query": {"type": "text", "content": "x"}})
_NOW = datetime(2026, 1, 31, tzinfo=UTC)


def _refused(read: Callable[[], object]) -> ApiError | None:
    """The refusal, which can be sent, of what ``read`` does."""
    try:
        read()
    except (InvalidRequest, LimitExceeded) as error:
        msgspec.json.encode([error.message, error.param, error.code])
        return error
    return None


def _json(data: bytes) -> dict[str, Any] | None:
    try:
        return decode_json(data)
    except InvalidRequest:
        return None


def json_bodies(data: bytes) -> None:
    """A body becomes a request or a refusal; what is taken can be written as JSON again."""
    model = _MODELS[(data[:1] or b"\0")[0] % len(_MODELS)]

    def read() -> None:
        validated(model, decode_json(data[1:])).model_dump_json()

    _refused(read)


def filters(data: bytes) -> None:
    """Filters become a condition, and bounds of dates that are numbers."""

    def read() -> None:
        wanted = validated(SearchFilters, decode_json(data))
        condition_of(wanted)
        for bound in date_bounds(wanted.date_range, _NOW):
            assert bound is None or math.isfinite(bound)

    _refused(read)


def schemas(data: bytes) -> None:
    """A schema that a client sends is one or is refused."""
    schema = _json(data[1:])
    if schema is not None:
        strict = data[0] % 2 == 1
        _refused(lambda: check_schema(schema, "x", "response_format", "invalid_schema", strict=strict))


def placeholders(data: bytes) -> None:
    """No text of a request holds a word that stands for a medium."""
    body = _json(data)
    if body is None:
        return
    told = json.dumps(list(_texts(_BREAKER.broken(body))), ensure_ascii=False)
    assert not any(word in told for word in _WORDS)
    _BREAKER.broken_message(body)
    _refused(lambda: _BREAKER.broken_tools(body))


def _texts(value: Any) -> list[str]:
    if isinstance(value, str):
        return [value]
    if isinstance(value, dict):
        value = list(value.values())
    return [text for item in value for text in _texts(item)] if isinstance(value, list) else []


def forms(data: bytes) -> None:
    """A multipart form is read or refused, and nothing of it stays open."""

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": data, "more_body": False}

    async def read() -> None:
        media = SimpleNamespace(spool_folder=None)
        app = SimpleNamespace(
            state=SimpleNamespace(gateway=SimpleNamespace(storage=SimpleNamespace(media=media)))
        )
        headers = [(b"content-type", b"multipart/form-data; boundary=b")]
        scope = {
            "type": "http",
            "method": "POST",
            "headers": headers,
            "app": app,
            "query_string": b"",
            "path": "/",
        }
        async with open_form(Request(cast(Any, scope), receive)) as form:
            list(form.multi_items())

    _refused(lambda: asyncio.run(read()))


def lists(data: bytes) -> None:
    """A list of things to ingest is read to its end, row by row, or is none."""
    form = format_of("list" + (".csv", ".jsonl", ".urls", "")[(data[:1] or b"\0")[0] % 4], data[1:65])
    if form is not None:
        _refused(lambda: [msgspec.json.encode(row) for row in entries_of(io.BytesIO(data[1:]), form)])


def batch_files(data: bytes) -> None:
    """The lines of a batch's file are the same however it comes in, and each is a request or has a problem."""
    whole = list(lines_of([data], 200))
    assert list(lines_of((data[at : at + 3] for at in range(0, len(data), 3)), 200)) == whole
    checked = check(whole, _ENDPOINT, 200, BatchConfig())
    assert checked.total == len(whole) or checked.problems


def headers(data: bytes) -> None:
    """Headers of a download name bytes that there are, or none; a key has its form or is none."""
    text = data.decode("latin-1")
    found = read_range(text, None, 1000, '"e"')
    assert found is None or found == NOT_SATISFIABLE or 0 <= found[0] < found[1] <= 1000
    matches_etag(text, '"e"')
    parts = split_key(text)
    assert parts is None or all(part.isascii() for part in parts)


def tokens(data: bytes) -> None:
    """Links and cursors that were not signed here lead nowhere."""
    text = data.decode("utf-8", "surrogateescape")
    try:
        _LINKS.read(text)
        raise AssertionError("a link that nobody signed")
    except LinkNotFound:
        pass
    assert _refused(lambda: _CURSORS.read("t", _SEARCH.model_copy(update={"cursor": text}))) is not None


def _seed_of(*bodies: tuple[type[BaseModel], dict[str, Any]]) -> tuple[bytes, ...]:
    return tuple(bytes([_MODELS.index(model)]) + json.dumps(body).encode() for model, body in bodies)


def _parquet() -> bytes:
    file = io.BytesIO()
    parquet.write_table(pa.table({"url": ["http://a/"], "size": [1]}), file)
    return file.getvalue()


_PICTURE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA", "detail": "low"}}
_TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}
_CHAT = {
    "model": "m",
    "messages": [{"role": "user", "content": ["x", {"type": "text", "text": "<image>"}, _PICTURE]}],
}
_STRICT = {
    "type": "object",
    "properties": {"a": {"$ref": "#/$defs/b"}},
    "required": ["a"],
    "additionalProperties": False,
}
_FORM = (
    b'--b\r\nContent-Disposition: form-data; name="model"\r\n\r\nm\r\n--b\r\nContent-Disposition: form-data; '
    b'name="file"; filename="a.wav"\r\nContent-Type: audio/wav\r\n\r\nRIFF\r\n--b--\r\n'
)
_LINE = {"custom_id": "1", "method": "POST", "url": _ENDPOINT, "body": {"model": "m", "input": "x"}}

REQUEST_TARGETS = (
    Target(
        "json_bodies",
        json_bodies,
        _seed_of(
            (
                ChatRequest,
                _CHAT | {"tools": [_TOOL], "tool_choice": "auto", "stop": ["a"], "logit_bias": {"1": 1}},
            ),
            (
                ChatRequest,
                {"model": "m", "messages": [{"role": "tool", "tool_call_id": "c", "content": "x"}], "n": 2},
            ),
            (ResponseRequest, {"model": "m", "input": [{"role": "user", "content": "x"}], "tools": [_TOOL]}),
            (EmbeddingRequest, {"model": "m", "input": ["a", [1, 2], {"image": "file-1"}], "dimensions": 8}),
            (ModerationRequest, {"input": [{"type": "text", "text": "x"}, _PICTURE]}),
            (
                SearchRequest,
                {"query": {"type": "text", "content": "x"}, "top_k": 3, "filters": {"a": {"gte": 1}}},
            ),
            (CollectionRequest, {"name": "c", "metadata": {}}),
            (IngestRequest, {"items": [{"url": "http://a/", "metadata": {"x": 1}}]}),
            (
                CreateBatchRequest,
                {"input_file_id": "file-1", "endpoint": _ENDPOINT, "completion_window": "24h"},
            ),
        ),
    ),
    Target(
        "filters",
        filters,
        (
            b'{"a": 1, "b": {"gte": 1, "lt": 2.5}, "date_range": "last_30_days"}',
            b'{"not": {"c": {"in": ["x", true]}}}',
            b'{"or": [{"a": {"exists": false}}, {"and": [{"b": "x"}]}]}',
            b'{"date_range": {"from": "2026-01-31", "to": "9999-12-31"}}',
        ),
    ),
    Target(
        "schemas",
        schemas,
        (
            b"\1" + json.dumps(_STRICT).encode(),
            b"\0" + b'{"anyOf": [{"type": ["string", "null"]}], "items": {"enum": [1]}}',
        ),
    ),
    Target(
        "placeholders",
        placeholders,
        (json.dumps(_CHAT).encode(), b'{"tools": [{"description": "<image><im<image>age>"}]}'),
    ),
    Target("forms", forms, (_FORM,)),
    Target(
        "lists",
        lists,
        (
            b'\0url,id,size\r\nhttp://a/,1,"2\n3"\r\n,,\r\n',
            b'\1{"url": "http://a/", "metadata": {"x": 1}}\n\nnonsense\n',
            b"\2# list\nhttp://a/\n",
            b"\3" + _parquet(),
        ),
    ),
    Target(
        "batch_files",
        batch_files,
        (json.dumps(_LINE).encode() + b"\n\xef\xbb\xbf\r\n" + b"x" * 300 + b"\n{}",),
    ),
    Target(
        "headers",
        headers,
        (b"bytes=0-499", b"bytes=-1", b"bytes=1-", b'W/"e", "x"', b"mm_" + b"a" * 16 + b"_" + b"A" * 43),
    ),
    Target(
        "tokens",
        tokens,
        (
            LinkSigner(b"another").sign("t", "file-1", 2000).encode(),
            CursorSigner(b"another").sign("t", _SEARCH, Position(1, 2, 3.0)).encode(),
        ),
    ),
)
