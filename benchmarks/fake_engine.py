"""A stand-in for the decoder: numbered tokens at a fixed pace, in as many streams at once as vLLM would take.

It answers as vLLM's server does (chat completions, whole and streamed, with usage), so that everything before it is
the real platform. Token ``i`` of every answer is the text ``"i "``: a reader sees each that is missing or doubled.
"""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass
from typing import Any

from serving.config import EngineConfig
from serving.deployments.engine import EngineDeployment
from serving.engines.side_channel import SideChannel
from serving.services import Attachment, EngineResponse, Perception

__all__ = ["FakeEngine", "FakeEngineDeployment", "Pace"]

_PROMPT_TOKENS = 20


@dataclass(frozen=True, slots=True)
class Pace:
    """How fast the stand-ins are.

    The engine makes ``tokens`` (or the request's ``max_tokens``, if fewer) in each answer, the first after
    ``first_token_seconds``, further ones ``tokens_per_second`` in each stream; ``chat.max_streams`` of the
    platform run at once, and more wait. An encoder takes ``encode_seconds`` for each item, one item at a time.
    ``version`` stands in every answer's ``system_fingerprint``, so that a reader sees who answered.
    """

    tokens: int = 64
    tokens_per_second: float = 20.0
    first_token_seconds: float = 0.05
    encode_seconds: float = 0.02
    version: str = "1"


class FakeEngine:
    """``serving.services.ChatEngine`` that does no work."""

    def __init__(self, config: EngineConfig, pace: Pace) -> None:
        self._pace = pace
        self._slots = asyncio.Semaphore(config.max_streams)
        self._fingerprint = f"paced-{pace.version}-{os.getpid()}"

    async def request(
        self,
        method: str,
        path: str,
        headers: Mapping[str, str],
        body: bytes,
        attachments: tuple[Attachment, ...] = (),
    ) -> AsyncGenerator[EngineResponse | bytes, None]:
        """See ``ChatEngine.request``. The response's head comes at once, as vLLM's does for a stream."""
        if path == "/metrics":
            yield EngineResponse(200, (("content-type", "text/plain"),))
            yield b"# HELP vllm:num_requests_running Number of requests running.\n"
            return
        asked = json.loads(body)
        wanted = asked.get("max_completion_tokens") or asked.get("max_tokens") or self._pace.tokens
        tokens = min(int(wanted), self._pace.tokens)
        if asked.get("stream"):
            yield EngineResponse(200, (("content-type", "text/event-stream; charset=utf-8"),))
            async for event in self._events(asked, tokens):
                yield event
        else:
            yield EngineResponse(200, (("content-type", "application/json"),))
            words = [word async for word in self._words(tokens)]
            yield json.dumps(self._whole(asked, "".join(words), tokens)).encode()

    async def ready(self) -> bool:
        """Always."""
        return True

    async def _words(self, tokens: int) -> AsyncGenerator[str, None]:
        """Held to the clock and not to the pauses between: a late token does not delay those after it."""
        async with self._slots:
            loop = asyncio.get_running_loop()
            begins = loop.time() + self._pace.first_token_seconds
            for number in range(tokens):
                due = begins + number / self._pace.tokens_per_second
                await asyncio.sleep(max(0.0, due - loop.time()))
                yield f"{number} "

    def _head(self, asked: Mapping[str, Any], kind: str) -> dict[str, Any]:
        return {
            "id": "chatcmpl-paced",
            "object": kind,
            "created": int(time.time()),
            "model": asked.get("model", "default"),
            "system_fingerprint": self._fingerprint,
        }

    def _usage(self, tokens: int) -> dict[str, Any]:
        return {
            "prompt_tokens": _PROMPT_TOKENS,
            "total_tokens": _PROMPT_TOKENS + tokens,
            "completion_tokens": tokens,
            "prompt_tokens_details": {"cached_tokens": 0},
        }

    def _whole(self, asked: Mapping[str, Any], text: str, tokens: int) -> dict[str, Any]:
        message = {"role": "assistant", "content": text, "refusal": None}
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": "length"}
        return {**self._head(asked, "chat.completion"), "choices": [choice], "usage": self._usage(tokens)}

    async def _events(self, asked: Mapping[str, Any], tokens: int) -> AsyncGenerator[bytes, None]:
        head = self._head(asked, "chat.completion.chunk")

        def event(choices: list[dict[str, Any]], **more: Any) -> bytes:
            return (
                b"data: %b\n\n"
                % json.dumps({**head, "choices": choices, **more}, separators=(",", ":")).encode()
            )

        def choice(delta: dict[str, Any], reason: str | None = None) -> list[dict[str, Any]]:
            return [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": reason}]

        opened = False
        async for word in self._words(tokens):
            if not opened:
                opened = True
                yield event(choice({"role": "assistant", "content": ""}))
            yield event(choice({"content": word}))
        yield event(choice({}, "length"))
        if (asked.get("stream_options") or {}).get("include_usage"):
            yield event([], usage=self._usage(tokens))
        yield b"data: [DONE]\n\n"


class FakeEngineDeployment(EngineDeployment):
    """``EngineDeployment`` around a ``FakeEngine``: the way of the bytes is the real one."""

    def __init__(self, config: EngineConfig, perception: Perception | None, pace: Pace) -> None:
        self._engine = FakeEngine(config, pace)  # type: ignore[assignment]  # a stand-in
        self._side_channel = SideChannel()
