"""One request to the engine: a second try before it answers, time limits, and its errors made ours."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any, Never

import msgspec
from tenacity import AsyncRetrying, retry_if_exception_type, stop_after_attempt, wait_random_exponential

from serving.config import RequestLimits
from serving.errors import EngineOverloaded, EngineRefused, EngineStalled, EngineUnavailable, InvalidRequest
from serving.patience import patience
from serving.services import Attachment, ChatEngine, EngineResponse

__all__ = ["EngineAnswer", "call_engine", "raise_engine_error"]

_TRIES = 2  # not more: it may be the prompt that ends engines
_MOST_PAUSE_SECONDS = 1.0
_MAX_ERROR_BYTES = 1 << 16
_MAX_MESSAGE_CHARACTERS = 500


_Begun = tuple[EngineResponse, bytes | None, AsyncIterator[EngineResponse | bytes]]


@dataclass(slots=True)
class EngineAnswer:
    """A successful answer that has begun: its first bytes, and an iterator over the others."""

    first: bytes
    _rest: AsyncIterator[EngineResponse | bytes]

    def __aiter__(self) -> AsyncIterator[EngineResponse | bytes]:
        return self._rest

    async def aclose(self) -> None:
        """Tell the engine that nobody reads on; it then aborts the request."""
        await _close(self._rest)

    async def read(self, timeout_seconds: float) -> bytes:
        """The whole body. Raises ``EngineStalled`` after ``timeout_seconds``; always closes the answer."""
        body = bytearray(self.first)
        try:
            async with asyncio.timeout(timeout_seconds):
                async for chunk in self._rest:
                    if isinstance(chunk, bytes):
                        body += chunk
        except TimeoutError as error:
            raise EngineStalled(
                "The model did not finish its answer in time. Ask for fewer tokens."
            ) from error
        finally:
            await self.aclose()
        return bytes(body)


async def call_engine(
    engine: ChatEngine,
    path: str,
    headers: Mapping[str, str],
    body: bytes,
    attachments: tuple[Attachment, ...] = (),
    *,
    limits: RequestLimits,
    first_byte_timeout_seconds: float,
) -> EngineAnswer:
    """POST to the engine and wait for the first bytes of a successful answer.

    ``attachments`` are what the body's content parts refer to by place, see ``ChatEngine.request``.
    An engine that breaks off before the first bytes is asked once more, within the same time limit: what was
    under way is generated anew, nobody has seen any of it. One that says itself that it is not available is not.
    Its error answers are raised as ``InvalidRequest`` (its 4xx and 501), ``EngineOverloaded``,
    ``EngineUnavailable`` or ``EngineRefused``.
    """
    pause = min(_MOST_PAUSE_SECONDS, limits.first_token_timeout_seconds)
    retrying = AsyncRetrying(
        stop=stop_after_attempt(_TRIES),
        wait=wait_random_exponential(multiplier=pause / 4, max=pause),
        retry=retry_if_exception_type(EngineUnavailable),
        reraise=True,
    )
    try:
        # An answer that comes whole may be late because it is long: that says nothing about the engine.
        begins_soon = first_byte_timeout_seconds <= limits.first_token_timeout_seconds
        async with patience(first_byte_timeout_seconds, telling=begins_soon):
            begun: _Begun = await retrying(_begin, engine, path, headers, body, attachments)
            head, first, answer = begun
            if first is None:
                await _raise_refusal(head, answer)
            return EngineAnswer(first, answer)
    except TimeoutError as error:
        raise EngineStalled(
            f"The model did not begin its answer within {first_byte_timeout_seconds:g} seconds. "
            "Please try again."
        ) from error


async def _begin(
    engine: ChatEngine,
    path: str,
    headers: Mapping[str, str],
    body: bytes,
    attachments: tuple[Attachment, ...],
) -> _Begun:
    """The head of an answer and its first bytes, ``None`` of a refusal, which is still to be read."""
    answer = engine.request("POST", path, headers, body, attachments)
    try:
        head = await anext(answer, None)
        if not isinstance(head, EngineResponse):
            raise _broken_off()
        if head.status != 200:
            return head, None, answer
        first = await anext(answer, None)
        if not isinstance(first, bytes):
            raise _broken_off()
    except BaseException:
        await _close(answer)
        raise
    return head, first, answer


def _broken_off() -> EngineUnavailable:
    return EngineUnavailable("The model's engine broke off before answering. Please try again.")


async def _close(answer: AsyncIterator[Any]) -> None:
    close = getattr(answer, "aclose", None)
    if close is not None:
        await close()


async def _raise_refusal(head: EngineResponse, answer: AsyncIterator[EngineResponse | bytes]) -> Never:
    body = b""
    try:
        async for chunk in answer:
            if isinstance(chunk, bytes):
                body += chunk
            if len(body) > _MAX_ERROR_BYTES:
                break
    finally:
        await _close(answer)
    try:
        decoded = msgspec.json.decode(body)
    except (msgspec.DecodeError, RecursionError):
        decoded = None
    detail = decoded.get("error", decoded) if isinstance(decoded, dict) else None
    raise_engine_error(head.status, detail if isinstance(detail, dict) else {})


def raise_engine_error(status: int, detail: Mapping[str, Any]) -> Never:
    """Raise the engine's error body as ours. A server error's words stay inside: they may name internals."""
    if status == 429:
        raise EngineOverloaded("The model is busy with other requests. Please try again shortly.")
    if status == 503:
        raise EngineUnavailable("The model is not available right now. Please try again shortly.")
    # 501 is vLLM's NotImplementedError: the request asks for what this model cannot do.
    if (400 <= status < 500 and status != 404) or status == 501:
        message = str(detail.get("message") or "The model's engine refused the request.")
        param = detail.get("param")
        too_long = "maximum context length" in message or "max_model_len" in message
        raise InvalidRequest(
            # What vLLM says next is for whoever starts it.
            message.partition(" Make sure that `max_model_len`")[0][:_MAX_MESSAGE_CHARACTERS],
            param if isinstance(param, str) else ("messages" if too_long else None),
            "context_length_exceeded" if too_long else None,
        )
    raise EngineRefused("The model's engine failed on this request.")
