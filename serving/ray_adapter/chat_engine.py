"""The model's engine over a streaming handle."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing

from ray.serve.handle import DeploymentHandle

from serving import tracing
from serving.affinity import AFFINITY_HEADER
from serving.engines.side_channel import BodyAt, read_body
from serving.errors import CircuitOpen, EngineOverloaded, EngineUnavailable, ServiceUnavailable
from serving.origin import outgoing
from serving.pool_calls import PoolCalls
from serving.ray_adapter.caller import Caller, given_up, is_cancelled
from serving.ray_adapter.failures import RAY_ERRORS, failure_of, restarting, translated
from serving.services import Attachment, EngineResponse

__all__ = ["RayChatEngine"]


class RayChatEngine:
    """``serving.services.ChatEngine`` over a streaming handle.

    ``beside`` takes streamed bodies from the engine replica's side channel; both must run on one machine.
    ``calls`` as in ``Caller``. A request is made once: who asks knows whether a client has seen anything of it.
    """

    def __init__(
        self,
        handle: DeploymentHandle,
        timeout_seconds: float,
        calls: PoolCalls | None = None,
        *,
        beside: bool = False,
    ) -> None:
        self._stream = handle.options(stream=True)
        self.caller = Caller(handle, "The model", timeout_seconds, calls)
        self._beside = beside

    async def request(
        self,
        method: str,
        path: str,
        headers: Mapping[str, str],
        body: bytes,
        attachments: tuple[Attachment, ...] = (),
    ) -> AsyncGenerator[EngineResponse | bytes, None]:
        """See ``ChatEngine.request``; closing the iterator cancels the call in the engine's replica."""
        try:
            call = self.caller.calls.begin()
        except CircuitOpen as error:
            raise CircuitOpen(error.message, None, "engine_unavailable") from None
        span = tracing.open_span("call request")
        sent = dict(headers)
        replica_of = self._stream.options(method_name="request", session_id=sent.pop(AFFINITY_HEADER, ""))
        answer, finished = None, False
        try:
            answer = replica_of.remote(method, path, sent, body, self._beside, attachments, **outgoing(span))
            async for item in answer:
                call.answered()
                if isinstance(item, BodyAt):
                    async with aclosing(read_body(item)) as chunks:
                        async for chunk in chunks:
                            yield chunk
                else:
                    yield item
            finished = True
            call.end("answered")
        except asyncio.CancelledError:
            if is_cancelled():
                raise
            finished = True
            call.end("failed")
            raise EngineUnavailable(restarting("The model").message) from None
        except RAY_ERRORS as error:
            finished = True
            failure = failure_of(error)
            if failure == "busy":
                call.end("refused")
                raise EngineOverloaded(
                    "The model's queue is full. Please try again in a few seconds."
                ) from None
            call.end("answered" if failure in ("ours", "unknown") else "failed")
            shown = translated(error, "The model")
            if type(shown) is ServiceUnavailable:
                shown = EngineUnavailable(shown.message)
            raise shown from None
        finally:
            span.close()
            call.end(given_up())
            if answer is not None and not finished:
                answer.cancel()

    async def ready(self) -> bool:
        """Whether the engine accepts requests."""
        return await self.caller.ready()
