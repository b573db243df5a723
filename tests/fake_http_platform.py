"""A working stand-in for the whole platform behind real HTTP, for tests of its clients.

Keeps media and documents in memory, answers chat in OpenAI's event stream, and finds what the test says.
"""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from pathlib import PurePath
from typing import Any

import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse

__all__ = ["FakeHttpPlatform", "running"]

_KINDS = {".png": "image", ".jpg": "image", ".flac": "audio", ".mp3": "audio", ".mp4": "video"}
_PARTS = {"image_url": "image", "audio_url": "audio", "video_url": "video"}
_PERCEIVED: dict[str, dict[str, Any]] = {
    "image": {"labels": [{"text": "tabby", "probability": 0.75}], "ocr_lines": 1},
    "audio": {"seconds_heard": 2.0, "transcript_segments": 1},
    "video": {
        "frames": [{"time_seconds": 0.5, "labels": []}],
        "seconds_heard": 2.0,
        "transcript_segments": 1,
    },
}
_MODELS = [
    {"id": "tiny", "object": "model", "created": 1, "owned_by": "manymodal", "manymodal": {"task": "chat"}},
]


class FakeHttpPlatform:
    """What it was sent is in ``requests`` (path, body) and ``keys`` (headers), what it keeps in ``media`` and
    ``documents``.

    Knobs: ``words`` of the chat answer, ``finish_reason``, ``break_off`` (an error event after the words),
    ``break_off_after`` (the same from so many answers on), ``transcript`` (verbose_json), ``hits`` (a search's body
    to its results), ``refusals`` (path to status and body), ``refused_names`` (files of these names are refused),
    ``duplicates`` (names of files that are skipped), ``busy_times`` (so many batches are told to come later),
    ``room`` (results that a warm-up can load).
    """

    def __init__(self) -> None:
        self.reset()
        self.app = FastAPI()
        self.app.add_api_route("/v1/{path:path}", self._serve, methods=["GET", "POST"])

    def reset(self) -> None:
        """Forget everything, so that one server serves many tests."""
        self.requests: list[tuple[str, Any]] = []
        self.keys: list[str | None] = []
        self.media: dict[str, dict[str, Any]] = {}
        self.documents: dict[str, dict[str, Any]] = {}
        self.words = ["A ", "cat."]
        self.finish_reason = "stop"
        self.break_off = False
        self.break_off_after: int | None = None
        self.transcript: dict[str, Any] = {
            "language": "english",
            "duration": 2.0,
            "text": "Hello there.",
            "segments": [{"start": 0.0, "end": 1.5, "text": " Hello there."}],
            "words": [
                {"word": "Hello", "start": 0.0, "end": 0.5},
                {"word": "there.", "start": 0.5, "end": 1.5},
            ],
        }
        self.hits: Callable[[dict[str, Any]], list[dict[str, Any]]] = lambda query: []
        self.room = 10_000
        self.refusals: dict[str, tuple[int, Any]] = {}
        self.refused_names: set[str] = set()
        self.duplicates: set[str] = set()
        self.busy_times = 0

    def sent(self, path: str) -> list[Any]:
        """Bodies of the requests to ``path``."""
        return [body for where, body in self.requests if where == path]

    async def _serve(self, request: Request, path: str) -> Response:
        self.keys.append(request.headers.get("authorization"))
        if path in self.refusals:
            status, refusal = self.refusals[path]
            return PlainTextResponse(refusal, status) if isinstance(refusal, str) else _error(status, refusal)
        if path.endswith("/documents/batch"):
            return await self._batch(request, path.split("/")[1])
        body: Any
        if path in ("media", "audio/transcriptions"):
            async with request.form() as form:
                file: Any = form["file"]
                fields = {name: value for name, value in form.items() if name != "file"}
                body = {**fields, "filename": file.filename, "content": await file.read()}
        else:
            body = await request.json() if request.method == "POST" else None
        self.requests.append((path, body))
        if path == "models":
            return JSONResponse({"object": "list", "data": _MODELS})
        if path == "media":
            return self._keep(body)
        if path == "audio/transcriptions":
            return self._transcribed(body["response_format"])
        if path == "chat/completions":
            return self._answer(body)
        if path == "media/warm_up":
            return self._warmed_up(body["ids"])
        if path == "search":
            return JSONResponse({"results": self.hits(body)})
        return self._index(path.split("/")[1], body)

    def _keep(self, body: dict[str, Any]) -> Response:
        if body["filename"] in self.refused_names:
            return _error(400, {"message": "The file is broken.", "code": "corrupt_media"})
        kind = _KINDS.get(PurePath(body["filename"]).suffix, "image")  # standard input has no name
        medium = {"id": f"file-{len(self.media):032x}", "object": "media", "kind": kind}
        self.media[medium["id"]] = {**body, **medium}
        return JSONResponse(medium)

    async def _batch(self, request: Request, collection: str) -> Response:
        """Keep a batch of documents; files of ``refused_names`` fail, those of ``duplicates`` are skipped."""
        files: dict[str, Any] = {}
        if request.headers["content-type"].startswith("multipart/"):
            async with request.form(max_files=128) as form:
                body = json.loads(str(form["request"]))
                for name, file in form.items():
                    if name != "request":
                        uploaded: Any = file
                        files[name] = (uploaded.filename, await uploaded.read())
        else:
            body = await request.json()
        self.requests.append(("batch", body))
        if self.busy_times:
            self.busy_times -= 1
            return _error(503, {"message": "Too busy.", "code": "service_unavailable"})
        data = []
        for document in body["documents"]:
            filename, content = files.get(document.get("file"), (None, None))
            status, error = "indexed", None
            if filename in self.refused_names:
                status, error = "failed", {"code": "corrupt_media", "message": "The file is broken."}
            elif filename in self.duplicates:
                status, error = "skipped", {"code": "duplicate", "message": "It is there."}
            else:
                kept = {**document, "content": content}
                self.documents.setdefault(collection, {})[document["id"]] = kept
            parts = int(status == "indexed")
            media_id = f"file-{len(self.requests):032x}"
            data.append(
                {"id": document["id"], "status": status, "parts": parts, "media_id": media_id, "error": error}
            )
        return JSONResponse(
            {"object": "document.batch", "collection": collection, "version": 1, "data": data}
        )

    def _warmed_up(self, ids: list[str]) -> Response:
        """Two results of 512 bytes for each medium it keeps, as long as there is ``room`` for them."""
        found = [media_id for media_id in ids if media_id in self.media]
        loaded = min(2 * len(found), self.room)
        self.room -= loaded
        return JSONResponse(
            {
                "object": "media.warm_up",
                "loaded": loaded,
                "loaded_bytes": 512 * loaded,
                "complete": loaded == 2 * len(found),
                "not_found": [media_id for media_id in ids if media_id not in self.media],
            }
        )

    def _transcribed(self, form: str) -> Response:
        if form in ("json", "verbose_json"):
            return JSONResponse(
                self.transcript if form == "verbose_json" else {"text": self.transcript["text"]}
            )
        return PlainTextResponse({"text": self.transcript["text"] + "\n"}.get(form, f"({form})\n"))

    def _index(self, collection: str, body: dict[str, Any]) -> Response:
        self.documents.setdefault(collection, {})[body["id"]] = body
        version = len(self.requests)
        return JSONResponse({"id": body["id"], "collection": collection, "parts": 1, "version": version})

    def _answer(self, body: dict[str, Any]) -> Response:
        content = body["messages"][-1]["content"]
        parts = [part for part in content if part["type"] in _PARTS] if isinstance(content, list) else []
        media = [
            {
                "id": part[part["type"]]["url"],
                "kind": _PARTS[part["type"]],
                **_PERCEIVED[_PARTS[part["type"]]],
                "cache": {"labels": "miss"},
            }
            for part in parts
        ]
        extra = {"manymodal": {"media": media}} if media else {}
        whole = {"id": "chatcmpl-1", "created": 1, "model": body["model"]}
        usage = {
            "prompt_tokens": 9,
            "completion_tokens": len(self.words),
            "total_tokens": 9 + len(self.words),
        }
        if not body.get("stream"):
            message = {"role": "assistant", "content": "".join(self.words)}
            choice = {"index": 0, "message": message, "finish_reason": self.finish_reason}
            answer = {**whole, "object": "chat.completion", "choices": [choice], "usage": usage, **extra}
            return JSONResponse(answer)

        earlier = len(self.sent("chat/completions")) - 1
        breaks = self.break_off or (self.break_off_after is not None and earlier >= self.break_off_after)

        async def events() -> AsyncIterator[str]:
            chunk = {**whole, "object": "chat.completion.chunk"}
            for word in self.words:
                yield _event(
                    {**chunk, "choices": [{"index": 0, "delta": {"content": word}, "finish_reason": None}]}
                )
            if breaks:
                yield _event(
                    {"error": {"message": "The model stopped.", "type": "server_error", "code": None}}
                )
            else:
                end = {"index": 0, "delta": {}, "finish_reason": self.finish_reason}
                yield _event({**chunk, "choices": [end], **extra})
                if (body.get("stream_options") or {}).get("include_usage"):
                    yield _event({**chunk, "choices": [], "usage": usage})
            yield "data: [DONE]\n\n"

        return StreamingResponse(events(), media_type="text/event-stream")


@contextmanager
def running(platform: FakeHttpPlatform) -> Iterator[str]:
    """Serve it on a free loopback port, in a thread, and yield its address."""
    server = uvicorn.Server(
        uvicorn.Config(platform.app, port=0, log_level="warning", lifespan="off", ws="none")
    )
    thread = threading.Thread(target=lambda: asyncio.run(server.serve()))
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive(), "the fake server did not start"
            thread.join(0.01)
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(10)
        assert not thread.is_alive(), "the fake server did not stop"


def _event(body: dict[str, Any]) -> str:
    return f"data: {json.dumps(body)}\n\n"


def _error(status: int, error: dict[str, Any]) -> Response:
    return JSONResponse(
        {"error": {"type": "invalid_request_error", "param": None, "code": None, **error}}, status
    )
