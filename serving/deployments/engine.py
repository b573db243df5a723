"""The decoder's deployment: one vLLM engine per replica."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing

from serving import tracing
from serving.config import EngineConfig
from serving.engines.side_channel import BodyAt, SideChannel
from serving.engines.vllm import VllmEngine
from serving.errors import EngineUnavailable
from serving.services import Attachment, EngineResponse, Perception

__all__ = ["EngineDeployment"]


class EngineDeployment:
    """Satisfies ``serving.services.ChatEngine``; a failed engine fails the health check and is replaced.

    ``perception`` is asked for the pixels and the sound of media that the decoder takes in itself; without it, such
    attachments are refused.
    """

    def __init__(self, config: EngineConfig, perception: Perception | None = None) -> None:
        self._engine = VllmEngine(config, perception)
        self._side_channel = SideChannel()

    async def request(
        self,
        method: str,
        path: str,
        headers: Mapping[str, str],
        body: bytes,
        beside: bool = False,
        attachments: tuple[Attachment, ...] = (),
    ) -> AsyncGenerator[EngineResponse | bytes | BodyAt, None]:
        """See ``ChatEngine.request``. With ``beside``, a streamed body is offered on the side channel."""
        traced = tracing.with_parent(headers)
        async with aclosing(self._engine.request(method, path, traced, body, attachments)) as answer:
            async for item in answer:
                yield item
                if beside and isinstance(item, EngineResponse) and _is_stream(item):
                    async with aclosing(self._side_channel.send(_bytes_of(answer))) as sending:
                        async for where in sending:
                            yield where
                    return

    async def ready(self) -> bool:
        """Whether requests are accepted."""
        return await self._engine.ready()

    async def check_health(self) -> None:
        """Raise when the engine core is gone, so that the replica is replaced."""
        if not await self._engine.ready():
            raise EngineUnavailable("The model's engine has stopped.")


def _is_stream(response: EngineResponse) -> bool:
    return any(
        name == "content-type" and value.startswith("text/event-stream") for name, value in response.headers
    )


async def _bytes_of(answer: AsyncGenerator[EngineResponse | bytes, None]) -> AsyncGenerator[bytes, None]:
    async for item in answer:
        if isinstance(item, bytes):
            yield item
