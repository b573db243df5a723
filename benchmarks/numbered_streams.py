"""Answers of the stand-in engine as a client sees them: tokens are numbered, so each lost or doubled one shows."""

from __future__ import annotations

import asyncio
import itertools
import json
import statistics
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import aiohttp

__all__ = [
    "Answer",
    "Arrivals",
    "ask_again",
    "outcomes",
    "percentile",
    "read_answer",
    "read_embedding",
    "session",
    "spread",
]

_TEXT_MODEL = "all-minilm-l6-v2"  # the laptop profile's name; here it is the stand-in's
_questions = itertools.count()


@dataclass(slots=True)
class Answer:
    """One streamed answer.

    ``status`` is 0 when no answer came at all. ``ended`` is ``complete``, ``refused`` (an error status), ``error``
    (an explicit error event) or ``silent``: the stream ended, and did not say that it was not whole. Times are
    ``time.perf_counter`` seconds; ``token_times`` has one for each token. ``refusals`` is what was answered before,
    where the question was asked again.
    """

    asked_at: float
    ended_at: float = 0.0
    status: int = 0
    ended: str = "silent"
    retry_after: float | None = None
    numbers: list[int] = field(default_factory=list)
    token_times: list[float] = field(default_factory=list)
    fingerprints: set[str] = field(default_factory=set)
    message: str = ""
    refusals: list[str] = field(default_factory=list)

    @property
    def admitted(self) -> bool:
        """Whether the answer was begun."""
        return self.status == 200

    @property
    def lost(self) -> int:
        """Tokens that are missing among, and in a complete answer after, those that came."""
        return len(set(range(max(self.numbers, default=-1) + 1)) - set(self.numbers))

    @property
    def doubled(self) -> int:
        """Tokens that came more than once, or out of order."""
        return sum(later <= earlier for earlier, later in itertools.pairwise(self.numbers))

    @property
    def ttft_seconds(self) -> float:
        """From the question to the first token."""
        return self.token_times[0] - self.asked_at if self.token_times else float("inf")

    @property
    def token_seconds(self) -> float:
        """Seconds for each token after the first, on average."""
        return (self.token_times[-1] - self.token_times[0]) / max(1, len(self.token_times) - 1)


def outcomes(answers: Iterable[Answer]) -> dict[str, int]:
    """How many answers ended how; refusals by status."""
    counts = Counter(f"{a.status}" if a.ended == "refused" else a.ended for a in answers)
    return dict(sorted(counts.items()))


def percentile(values: Sequence[float], share: float) -> float:
    """The value that ``share`` of the values do not exceed."""
    if not values:
        return float("nan")
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]


def session(base_url: str) -> aiohttp.ClientSession:
    """A client that opens as many connections as it is asked for."""
    connector = aiohttp.TCPConnector(limit=0)
    timeout = aiohttp.ClientTimeout(total=600, sock_connect=30)
    return aiohttp.ClientSession(base_url, connector=connector, timeout=timeout)


async def read_answer(
    client: aiohttp.ClientSession, tokens: int, answer: Answer | None = None, **more: Any
) -> Answer:
    """Ask for a stream of ``tokens`` and read it to its end, into ``answer`` if one is given."""
    answer = answer or Answer(time.perf_counter())
    content = f"({next(_questions)}) Count."
    question = {
        "model": "default",
        "messages": [{"role": "user", "content": content}],
        "max_tokens": tokens,
        "stream": True,
        **more,
    }
    try:
        async with client.post("/v1/chat/completions", json=question) as response:
            answer.status = response.status
            if response.status != 200:
                answer.ended = "refused"
                retry_after = response.headers.get("retry-after")
                answer.retry_after = None if retry_after is None else float(retry_after)
                answer.message = (await response.text())[:500]
                return answer
            async for line in response.content:
                _read(line, answer, tokens)
    except (aiohttp.ClientError, TimeoutError, ConnectionError) as error:
        answer.message = f"{type(error).__name__}: {error}"
    return answer


async def ask_again(client: aiohttp.ClientSession, tokens: int, answer: Answer) -> Answer:
    """``read_answer`` as OpenAI's client asks: again, twice, where nothing of an answer came."""
    for pause in (0.5, 1.0, None):
        await read_answer(client, tokens, answer)
        if pause is None or not _worth_again(answer):
            break
        answer.refusals.append(f"{answer.status} {answer.message}")
        answer.status, answer.ended, answer.message = 0, "silent", ""
        await asyncio.sleep(pause)
    return answer


def _worth_again(answer: Answer) -> bool:
    return not answer.admitted and (answer.status in {0, 408, 409, 429} or answer.status >= 500)


async def read_embedding(client: aiohttp.ClientSession, answer: Answer | None = None) -> Answer:
    """Ask for the embedding of a text nobody asked for before."""
    answer = answer or Answer(time.perf_counter())
    question = {"model": _TEXT_MODEL, "input": f"Text number {next(_questions)}."}
    try:
        async with client.post("/v1/embeddings", json=question) as response:
            answer.status = response.status
            answer.ended = "complete" if response.status == 200 else "refused"
            retry_after = response.headers.get("retry-after")
            answer.retry_after = None if retry_after is None else float(retry_after)
            body = await response.text()
            if response.status != 200:
                answer.message = body[:500]
            answer.token_times.append(time.perf_counter())
    except (aiohttp.ClientError, TimeoutError, ConnectionError) as error:
        answer.message = f"{type(error).__name__}: {error}"
    return answer


def _read(line: bytes, answer: Answer, tokens: int) -> None:
    if not line.startswith(b"data: "):
        return
    data = line[6:].strip()
    if data == b"[DONE]":
        if answer.ended == "silent" and len(answer.numbers) == tokens:
            answer.ended = "complete"
        return
    event = json.loads(data)
    if "error" in event:
        answer.ended, answer.message = "error", str(event["error"].get("message"))
        return
    answer.fingerprints.add(str(event.get("system_fingerprint")))
    now = time.perf_counter()
    for choice in event["choices"]:
        for number in (choice["delta"].get("content") or "").split():
            answer.numbers.append(int(number))
            answer.token_times.append(now)


class Arrivals:
    """Questions at a rate that changes with time, whether those before were answered or not (an open loop)."""

    def __init__(self, ask: Callable[[Answer], Awaitable[Answer]]) -> None:
        self._ask = ask
        self.begun: list[Answer] = []
        self.answers: list[Answer] = []
        self._running: set[asyncio.Task[None]] = set()

    def begin(self) -> None:
        """Ask once."""
        task = asyncio.create_task(self._one())
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    async def run(self, per_second: float, seconds: float) -> None:
        """Ask for so long, evenly; returns without waiting for the answers."""
        begins = time.perf_counter()
        for number in range(round(per_second * seconds)):
            await asyncio.sleep(max(0.0, begins + number / per_second - time.perf_counter()))
            self.begin()
        await asyncio.sleep(max(0.0, begins + seconds - time.perf_counter()))

    async def under_way(self, count: int, seconds: float = 120.0) -> None:
        """Wait until so many answers have begun."""
        async with asyncio.timeout(seconds):
            while sum(bool(answer.token_times) for answer in self.begun) < count:  # noqa: ASYNC110 - nobody tells
                await asyncio.sleep(0.05)

    async def settled(self) -> list[Answer]:
        """All answers, once each has ended."""
        while self._running:
            await asyncio.wait(set(self._running))
        return self.answers

    async def _one(self) -> None:
        answer = Answer(time.perf_counter())
        self.begun.append(answer)
        self.answers.append(await self._ask(answer))
        answer.ended_at = time.perf_counter()


def spread(values: Sequence[float]) -> dict[str, float]:
    """Median and 95th percentile; nothing of nothing."""
    if not values:
        return {}
    return {"p50": round(statistics.median(values), 4), "p95": round(percentile(values, 0.95), 4)}
