"""Questions about a medium, and texts that take as many tokens of the prompt as it does."""

from __future__ import annotations

from typing import Any

import aiohttp

from benchmarks.load import stream_answer

__all__ = ["Part", "ask", "prompt_tokens", "question", "text_twin", "uploaded"]

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
