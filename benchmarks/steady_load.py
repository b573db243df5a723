"""Users of the platform through OpenAI's own client, with its own retries, for as long as somebody breaks things.

Each user asks one question after the other: whole answers, embeddings, streams. What they saw is kept one by one.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import httpx2
from openai import APIConnectionError, APIError, APIStatusError, AsyncOpenAI

__all__ = ["Ask", "Load", "counted"]

_TEXT_MODEL = "all-minilm-l6-v2"
_PNG = b"\x89PNG\r\n\x1a\n"
_numbers = itertools.count()


@dataclass(slots=True)
class Ask:
    """One question and how it ended.

    ``complete``; ``error``: an error event, or an error status after the client's own retries; ``broken``: the
    connection was cut, which the client raises; ``silent``: it ended as if whole, and was not. Times are seconds of
    ``time.time``.
    """

    kind: str
    begun: float
    ended: float = 0.0
    outcome: str = "running"
    tokens: int = 0
    longest_gap: float = 0.0
    message: str = ""

    @property
    def seconds(self) -> float:
        """From the question to the end."""
        return self.ended - self.begun


def counted(asks: Iterable[Ask]) -> dict[str, dict[str, int]]:
    """How many of each kind ended how."""
    counts: dict[str, Counter[str]] = {}
    for ask in asks:
        counts.setdefault(ask.kind, Counter())[ask.outcome] += 1
    return {kind: dict(sorted(one.items())) for kind, one in sorted(counts.items())}


@dataclass
class Load:
    """``async with Load(url, key) as load``: users ask until it is left, and finish what they asked."""

    base_url: str
    key: str
    chats: int = 3
    embeddings: int = 3
    streams: int = 6
    uploads: int = 0
    stream_tokens: int = 60
    pause_seconds: float = 0.2
    asks: list[Ask] = field(default_factory=list)

    async def __aenter__(self) -> Load:
        # Every request on a connection of its own, or all of a user's would go to one gateway.
        limits = httpx2.Limits(max_keepalive_connections=0)
        timeout = httpx2.Timeout(60, connect=5)
        http = httpx2.AsyncClient(limits=limits, timeout=timeout, trust_env=False)
        self._client = AsyncOpenAI(base_url=f"{self.base_url}/v1", api_key=self.key, http_client=http)
        self._over = asyncio.Event()
        kinds = ["chat"] * self.chats + ["embedding"] * self.embeddings + ["stream"] * self.streams
        kinds += ["upload"] * self.uploads
        self._users = [asyncio.create_task(self._user(kind)) for kind in kinds]
        return self

    async def __aexit__(self, *raised: object) -> None:
        self._over.set()
        ends = await asyncio.gather(*self._users, return_exceptions=True)
        await self._client.close()
        for end in ends:
            if isinstance(end, BaseException):
                raise end

    async def _user(self, kind: str) -> None:
        while not self._over.is_set():
            ask = Ask(kind, time.time())
            self.asks.append(ask)
            await self.ask(ask)
            await asyncio.sleep(self.pause_seconds)

    async def ask(self, ask: Ask) -> Ask:
        """Ask once and note how it ended."""
        question: Any = {
            "model": "default",
            "messages": [{"role": "user", "content": f"({next(_numbers)}) Count."}],
        }
        try:
            if ask.kind == "embedding":
                text = f"Text number {next(_numbers)}."
                found = await self._client.embeddings.create(model=_TEXT_MODEL, input=text)
                ask.outcome = "complete" if found.data[0].embedding else "silent"
            elif ask.kind == "upload":
                content = _PNG + os.urandom(64)  # the stand-ins take it for a picture
                file = await self._client.files.create(file=("a.png", content), purpose="user_data")
                ask.outcome = "complete" if file.id else "silent"
            elif ask.kind == "chat":
                answer = await self._client.chat.completions.create(**question, max_tokens=5)
                ask.tokens = len((answer.choices[0].message.content or "").split())
                ask.outcome = "complete" if ask.tokens == 5 else "silent"
            else:
                await self._stream(ask, question)
        except APIStatusError as error:
            ask.outcome, ask.message = "error", f"{error.status_code}: {error.message}"[:300]
        except (APIConnectionError, httpx2.TransportError) as error:
            ask.outcome = "broken"
            ask.message = f"{type(error).__name__}: {error!r}: {error.__cause__!r}"[:300]
        except APIError as error:  # an error event
            ask.outcome, ask.message = "error", f"event: {error.message}"[:300]
        ask.ended = time.time()
        return ask

    async def _stream(self, ask: Ask, question: Any) -> None:
        stream = await self._client.chat.completions.create(
            **question, max_tokens=self.stream_tokens, stream=True
        )
        last, finished = time.time(), False
        async for chunk in stream:
            now = time.time()
            ask.longest_gap = max(ask.longest_gap, now - last)
            last = now
            for choice in chunk.choices:
                ask.tokens += len((choice.delta.content or "").split())
                finished = finished or choice.finish_reason is not None
        ask.outcome = "complete" if finished and ask.tokens == self.stream_tokens else "silent"
