"""The decoder's deployment: one vLLM engine per replica."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping

from serving.config import EngineConfig
from serving.engines.vllm import VllmEngine
from serving.errors import EngineUnavailable
from serving.services import EngineResponse

__all__ = ["EngineDeployment"]


class EngineDeployment:
    """Satisfies ``serving.services.ChatEngine``; a failed engine fails the health check and is replaced."""

    def __init__(self, config: EngineConfig) -> None:
        self._engine = VllmEngine(config)

    async def request(
        self, method: str, path: str, headers: Mapping[str, str], body: bytes
    ) -> AsyncIterator[EngineResponse | bytes]:
        """See ``ChatEngine.request``."""
        answer = self._engine.request(method, path, headers, body)
        try:
            async for item in answer:
                yield item
        finally:
            await answer.aclose()  # type: ignore[attr-defined]

    async def ready(self) -> bool:
        """Whether requests are accepted."""
        return await self._engine.ready()

    async def unfinished_requests(self) -> int:
        """How many requests the engine still works on."""
        return await self._engine.unfinished_requests()

    async def check_health(self) -> None:
        """Raise when the engine core is gone, so that the replica is replaced."""
        if not await self._engine.ready():
            raise EngineUnavailable("The model's engine has stopped.")
