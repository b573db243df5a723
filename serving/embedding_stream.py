"""Embeddings of a stream of texts of any length: NDJSON in, NDJSON out, passage by passage as they are ready."""

from __future__ import annotations

import asyncio
import base64
import logging
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass
from itertools import islice
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from encoders.text.encoder import shortened
from search.types import Vector
from serving.body_lines import BodyLines, LineTooLong
from serving.error_handlers import error_parts
from serving.errors import ClientGone, InvalidRequest, LimitExceeded, answer_for
from serving.gateway import Gateway
from serving.limits.limiter import tokens_guessed
from serving.passages import Passage, passages_of
from serving.protocol.embeddings import EmbeddingLine
from serving.protocol.parse import decode_json, validated

__all__ = ["EmbeddingStream"]

_BATCH = 32
_HEADERS = {"cache-control": "no-cache", "x-accel-buffering": "no"}
_LARGE_BYTES = 64 << 10

_log = logging.getLogger("manymodal.gateway")


@dataclass(frozen=True, slots=True)
class _Place:
    """Which line an answer belongs to: its number among those that are not blank, and the client's own id."""

    index: int
    id: str | int | None


@dataclass(frozen=True, slots=True)
class _Part:
    place: _Place
    number: int
    passage: Passage
    last: bool


@dataclass(frozen=True, slots=True)
class _Refusal:
    place: _Place
    error: Exception


@dataclass(slots=True)
class _Counts:
    lines: int = 0
    embeddings: int = 0
    errors: int = 0
    tokens: int = 0


class EmbeddingStream(Response):
    """One line in gives one line out for each of its passages, an error gives one, and the last line sums up.

    Holds a few batches of passages and one line of text, whatever is sent. Ends all work when the client is gone
    or takes nothing for ``stall_timeout_seconds``.
    """

    def __init__(
        self, request: Request, gateway: Gateway, tenant: str, *, dimensions: int | None, as_base64: bool
    ) -> None:
        self.status_code = 200
        self.background = None
        self.media_type = "application/x-ndjson"
        self.init_headers(_HEADERS)
        self._request = request
        self._gateway = gateway
        self._tenant = tenant
        self._dimensions = dimensions
        self._as_base64 = as_base64
        self._limits = gateway.config.limits
        self._counts = _Counts()
        self._refused = -1

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the stream; returns when it is complete or the client is gone."""
        limits = self._limits
        folder = self._gateway.storage.media.spool_folder
        with BodyLines(self._request, folder, limits.max_line_bytes, limits.answer_timeout_seconds) as body:
            tasks = [asyncio.create_task(body.receive()), asyncio.create_task(self._answer(body, send))]
            try:
                await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
                for task in tasks:
                    if task.done():
                        with suppress(ClientGone, OSError, TimeoutError):
                            task.result()
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
                self._gateway.metrics.count_usage(self._counts.tokens, None)

    async def _answer(self, body: BodyLines, send: Send) -> None:
        queue: asyncio.Queue[_Part | _Refusal | None] = asyncio.Queue(2 * _BATCH)
        reading = asyncio.create_task(self._read(body, queue))
        try:
            await self._send(
                send, {"type": "http.response.start", "status": 200, "headers": self.raw_headers}
            )
            while batch := await _next_batch(queue):
                await self._write(send, await self._embedded(batch))
            await self._write(send, [self._summary()], more=False)
        finally:
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)

    async def _read(self, body: BodyLines, queue: asyncio.Queue[_Part | _Refusal | None]) -> None:
        """Put the passages of every line into the queue, in order, then ``None``."""
        try:
            # The generator is typed as the iterator that readers need.
            async with aclosing(body.lines()) as lines:  # type: ignore[type-var]
                async for line in lines:
                    place = _Place(self._counts.lines, None)
                    self._counts.lines += 1
                    try:
                        if isinstance(line, LineTooLong):
                            limit = self._limits.max_line_bytes
                            raise LimitExceeded(f"The line is longer than {limit} bytes (max_line_bytes).")
                        wanted = await _parsed(line)
                        place = _Place(place.index, wanted.id)
                        async for part in _parts(place, wanted.input):
                            await queue.put(part)
                    except InvalidRequest as error:
                        await queue.put(_Refusal(place, error))
        except Exception as error:
            await queue.put(_Refusal(_Place(self._counts.lines, None), error))
        await queue.put(None)

    async def _embedded(self, batch: Sequence[_Part | _Refusal]) -> list[dict[str, Any]]:
        """The lines that answer a batch, in its order. Of an input that failed, the first line says it for all."""
        batch = [item for item in batch if item.place.index != self._refused]
        parts = [item for item in batch if isinstance(item, _Part)]
        made: Iterator[tuple[Vector, int]] = iter(())
        failure: Exception | None = None
        if parts:
            try:
                texts = tuple(part.passage.text for part in parts)
                guessed = tokens_guessed(sum(map(len, texts)))
                reserved = await self._gateway.limiter.reserve_tokens(self._tenant, guessed)
                embedded = await self._gateway.perceiver.embed_texts(self._tenant, texts)
                if reserved is not None:
                    reserved.settle(sum(embedded.token_counts))
                vectors = shortened(embedded.vectors, self._dimensions)
                made = iter(zip(vectors, embedded.token_counts, strict=True))
            except Exception as error:
                if answer_for(error) is None:
                    _log.error("Texts of a stream could not be embedded", exc_info=error)
                failure = error
        lines = []
        for item in batch:
            wrong = item.error if isinstance(item, _Refusal) else failure
            if isinstance(item, _Part) and wrong is None:
                lines.append(self._line(item, *next(made)))
            elif wrong is not None and item.place.index != self._refused:
                self._refused = item.place.index
                lines.append(self._refusal(item.place, wrong))
        return lines

    def _line(self, part: _Part, vector: Vector, tokens: int) -> dict[str, Any]:
        self._counts.embeddings += 1
        self._counts.tokens += tokens
        return {
            "object": "embedding",
            **_shown(part.place),
            "passage": part.number,
            "last": part.last,
            "start": part.passage.start,
            "end": part.passage.end,
            "tokens": tokens,
            "embedding": base64.b64encode(vector.astype("<f4").tobytes()).decode()
            if self._as_base64
            else vector.tolist(),
        }

    def _refusal(self, place: _Place, error: Exception) -> dict[str, Any]:
        self._counts.errors += 1
        answer, message, param, code = error_parts(error)
        self._gateway.metrics.count_error(code or answer.type)
        detail = {"message": message, "type": answer.type, "param": param, "code": code}
        return {"object": "error", **_shown(place), "error": detail}

    def _summary(self) -> dict[str, Any]:
        counts = self._counts
        return {
            "object": "summary",
            "model": self._gateway.catalogue.text.name,
            "lines": counts.lines,
            "embeddings": counts.embeddings,
            "errors": counts.errors,
            "usage": {"prompt_tokens": counts.tokens, "total_tokens": counts.tokens},
        }

    async def _write(self, send: Send, lines: Sequence[dict[str, Any]], *, more: bool = True) -> None:
        body = b"".join(msgspec.json.encode(line) + b"\n" for line in lines)
        await self._send(send, {"type": "http.response.body", "body": body, "more_body": more})

    async def _send(self, send: Send, message: Any) -> None:
        async with asyncio.timeout(self._limits.stall_timeout_seconds):
            await send(message)


async def _next_batch(queue: asyncio.Queue[_Part | _Refusal | None]) -> list[_Part | _Refusal]:
    """What is there by now, at least one; empty at the end."""
    batch: list[_Part | _Refusal] = []
    item = await queue.get()
    while item is not None:
        batch.append(item)
        if len(batch) == _BATCH or queue.empty():
            return batch
        item = queue.get_nowait()
    if batch:
        queue.put_nowait(None)  # the end is seen again the next time
    return batch


async def _parsed(line: bytes) -> EmbeddingLine:
    raw = decode_json(line) if len(line) < _LARGE_BYTES else await asyncio.to_thread(decode_json, line)
    wanted = validated(EmbeddingLine, raw)
    if not wanted.input.strip():
        raise InvalidRequest("'input' cannot be an empty string.", "input")
    return wanted


async def _parts(place: _Place, text: str) -> AsyncIterator[_Part]:
    """The passages of a text. One alone is the text as it is, so that it gets the vector that any text gets."""
    found = passages_of(text)

    def some() -> list[Passage]:
        return list(islice(found, _BATCH))

    waiting = await asyncio.to_thread(some) if len(text) > _LARGE_BYTES else some()
    if len(waiting) == 1:
        yield _Part(place, 0, Passage(0, len(text), text), last=True)
        return
    number = 0
    while waiting:
        following = await asyncio.to_thread(some) if len(waiting) == _BATCH else []
        for passage in waiting:
            yield _Part(place, number, passage, last=passage is waiting[-1] and not following)
            number += 1
        waiting = following


def _shown(place: _Place) -> dict[str, Any]:
    return {"index": place.index} | ({} if place.id is None else {"id": place.id})
