"""The model's engine over a streaming handle."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing

from ray.exceptions import RayError
from ray.serve.exceptions import BackPressureError, RayServeException
from ray.serve.handle import DeploymentHandle

from serving import tracing
from serving.engines.side_channel import BodyAt, read_body
from serving.errors import EngineOverloaded, EngineUnavailable, ServiceUnavailable
from serving.origin import outgoing
from serving.ray_adapter.caller import Caller, is_cancelled, restarting, translated
from serving.services import Attachment, EngineResponse

__all__ = ["RayChatEngine"]


class RayChatEngine:
    """``serving.services.ChatEngine`` over a streaming handle.

    ``beside`` takes streamed bodies from the engine replica's side channel; both must run on one machine.
    """

    def __init__(self, handle: DeploymentHandle, timeout_seconds: float, *, beside: bool = False) -> None:
        self._stream = handle.options(stream=True)
        self._caller = Caller(handle, "The model", timeout_seconds)
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
        span = tracing.open_span("call request")
        answer = self._stream.request.remote(
            method, path, dict(headers), body, self._beside, attachments, **outgoing(span)
        )
        finished = False
        try:
            async for item in answer:
                if isinstance(item, BodyAt):
                    async with aclosing(read_body(item)) as chunks:
                        async for chunk in chunks:
                            yield chunk
                else:
                    yield item
            finished = True
        except asyncio.CancelledError:
            if is_cancelled():
                raise
            finished = True
            raise EngineUnavailable(restarting("The model").message) from None
        except BackPressureError:
            finished = True
            raise EngineOverloaded("The model's queue is full. Please try again in a few seconds.") from None
        except (RayError, RayServeException) as error:
            finished = True
            failure = translated(error, "The model")
            if type(failure) is ServiceUnavailable:
                failure = EngineUnavailable(failure.message)
            raise failure from None
        finally:
            span.close()
            if not finished:
                answer.cancel()

    async def ready(self) -> bool:
        """Whether the engine accepts requests."""
        return await self._caller.ready()
