"""Streams of chat completions against one OpenAI-compatible server, timed at the client."""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import dataclass
from typing import Any

import aiohttp

__all__ = ["Wave", "prompt", "run_wave", "stream_answer"]

_SUBJECTS = (
    "a lighthouse keeper", "a mountain village", "two brothers at sea", "a clockmaker", "an old library",
    "a desert caravan", "a night train", "a young gardener", "a lost letter", "a winter market",
    "a river ferry", "an empty theatre", "a beekeeper", "a stone bridge", "a school in the hills", "a kite maker",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Wave:
    """What one wave of concurrent streams gave: tokens per second in all, and each stream's TTFT."""

    tokens: int
    seconds: float
    ttft_seconds: tuple[float, ...]

    @property
    def tokens_per_second(self) -> float:
        """Completion tokens over the time from the first request to the last byte."""
        return self.tokens / self.seconds


async def run_wave(base_url: str, model: str, streams: int, max_tokens: int, seed: int) -> Wave:
    """Send ``streams`` requests at once and read them to the end. The same ``seed`` gives the same prompts."""
    timeout = aiohttp.ClientTimeout(total=300)
    async with aiohttp.ClientSession(base_url, timeout=timeout) as session:
        started = time.perf_counter()
        results = await asyncio.gather(
            *(_stream(session, model, prompt(seed, index), max_tokens) for index in range(streams))
        )
        seconds = time.perf_counter() - started
    return Wave(sum(tokens for tokens, _ in results), seconds, tuple(ttft for _, ttft in results))


def prompt(seed: int, index: int) -> str:
    """A wish for a long story; no two are the same."""
    # The number makes every prompt new to the prefix cache.
    return f"({seed}-{index}) Write a very long and detailed story about {_SUBJECTS[index % len(_SUBJECTS)]}."


async def _stream(
    session: aiohttp.ClientSession, model: str, prompt: str, max_tokens: int
) -> tuple[int, float]:
    return await stream_answer(
        session,
        {
            "model": model,
            "messages": [{"role": "user", "content": prompt}],
            "max_tokens": max_tokens,
            "temperature": 0,
        },
    )


async def stream_answer(session: aiohttp.ClientSession, question: dict[str, Any]) -> tuple[int, float]:
    """Stream the answer to a chat request and read it to the end: completion tokens, and TTFT in seconds."""
    wanted = {**question, "stream": True, "stream_options": {"include_usage": True}}
    body = json.dumps(wanted).encode()  # not within the time: a picture in it takes a while to encode
    started = time.perf_counter()
    ttft, usage = None, None
    headers = {"content-type": "application/json"}
    async with session.post("/v1/chat/completions", data=body, headers=headers) as response:
        response.raise_for_status()
        async for line in response.content:
            if not line.startswith(b"data: {"):
                continue
            # Only the first piece of text and the usage are parsed: the load generator shares the cores.
            if ttft is None and b'"content":""' not in line and b'"content":"' in line:
                ttft = time.perf_counter() - started
            if b'"choices":[]' in line:
                usage = json.loads(line[6:])["usage"]
    if ttft is None or usage is None:
        raise RuntimeError("a stream ended without text or without usage")
    return int(usage["completion_tokens"]), ttft
