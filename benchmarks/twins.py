"""Questions about a medium, and texts that take as many tokens of the prompt as it does."""

from __future__ import annotations

import statistics
from typing import Any

import aiohttp

from benchmarks.load import stream_answer

__all__ = ["Part", "ask", "by_turns", "prompt_tokens", "question", "text_twin", "uploaded"]

Part = dict[str, Any]
_MOST_WORDS = 8192


def question(parts: list[Part], word: str, max_tokens: int) -> dict[str, Any]:
    """A chat request about ``parts``; ``word`` makes its words new, what stands before them stays."""
    asked = {"type": "text", "text": f"Question {word}: what could this be about?"}
    return {
        "model": "default",
        "messages": [{"role": "user", "content": [*parts, asked]}],
        "max_tokens": max_tokens,
        "temperature": 0,
    }


async def ask(session: aiohttp.ClientSession, parts: list[Part], word: str) -> float:
    """TTFT in seconds of a question about ``parts``."""
    return (await stream_answer(session, question(parts, word, max_tokens=4)))[1]


async def by_turns(
    session: aiohttp.ClientSession, about: dict[str, list[Part]], rounds: int, requests: int, title: str = ""
) -> dict[str, list[float]]:
    """TTFT in seconds of questions about each of ``about``, in changing order: by name the median of each round."""
    measured: dict[str, list[float]] = {name: [] for name in about}
    order = list(about)
    numbers = {name: place for place, name in enumerate(order)}  # questions of equal length
    for number in range(rounds):
        waits: dict[str, list[float]] = {name: [] for name in about}
        for index in range(requests):
            for name in order:
                waits[name].append(await ask(session, about[name], f"{number}-{index}-{numbers[name]}"))
            order.append(order.pop(0))
        for name, values in waits.items():
            measured[name].append(statistics.median(values))
        said = ", ".join(f"{name} {values[-1] * 1000:.1f} ms" for name, values in measured.items())
        print(f"{title}round {number + 1}: {said}", flush=True)
    return measured


async def prompt_tokens(session: aiohttp.ClientSession, parts: list[Part]) -> int:
    """How many tokens the prompt of such a question has."""
    async with session.post("/v1/chat/completions", json=question(parts, "count", max_tokens=1)) as answer:
        answer.raise_for_status()
        return int((await answer.json())["usage"]["prompt_tokens"])


async def text_twin(session: aiohttp.ClientSession, parts: list[Part]) -> Part:
    """The shortest run of one word that takes at least as many tokens of the prompt as ``parts`` do."""
    wanted = await prompt_tokens(session, parts)
    low, high = 0, _MOST_WORDS
    while high - low > 1:
        middle = (low + high) // 2 if high < _MOST_WORDS else max(1, 2 * low)
        if middle >= _MOST_WORDS:
            raise RuntimeError(f"no text of {wanted} tokens was found")
        if await prompt_tokens(session, [_words(middle)]) >= wanted:
            high = middle
        else:
            low = middle
    return _words(high)


async def uploaded(session: aiohttp.ClientSession, name: str, content_type: str, data: bytes) -> Part:
    """The part that refers to a medium by its id, which it has from now on."""
    form = aiohttp.FormData()
    form.add_field("file", data, filename=name, content_type=content_type)
    form.add_field("purpose", "vision")
    async with session.post("/v1/files", data=form) as answer:
        answer.raise_for_status()
        return {"type": "file", "file": {"file_id": (await answer.json())["id"]}}


def _words(number: int) -> Part:
    return {"type": "text", "text": "a " * number}
