"""The tour's questions: streamed chat about samples."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

from rich.console import Console

from deploy.demo.library import Library
from deploy.demo.report import Step, duration, print_fact, print_label
from deploy.demo.script import Question
from deploy.errors import TourFailed
from serving.cli.client import Server
from serving.cli.used import describe_medium, media_used

__all__ = ["ask"]

_PARTS = {"image": "image_url", "audio": "audio_url", "video": "video_url"}


@dataclass(slots=True)
class _Heard:
    """A streamed answer, taken apart. Times are seconds since the request was sent."""

    text: str = ""
    first_seconds: float | None = None
    last_seconds: float = 0.0
    finish_reason: str | None = None
    completion_tokens: int = 0
    media: list[dict[str, Any]] = field(default_factory=list)


def ask(server: Server, library: Library, question: Question, console: Console) -> Step:
    """Send the question with its samples, print the answer as it streams, check it. Raises ``TourFailed``."""
    parts: list[Any] = []
    for name in question.media:
        kind = _PARTS[library.kind(name)]
        parts.append({"type": kind, kind: {"url": library.media_id(name)}})
    parts.append({"type": "text", "text": question.text})
    names = ", ".join(library.file(name).name for name in question.media)
    print_fact(console, "sent", f"{names}: {question.text}")
    print_label(console, "answer")
    heard = _listen(server, question, parts, console)
    console.print()
    for medium in heard.media:
        print_fact(console, "used", describe_medium(medium))
    _check(question, library, heard)
    figures = {"ttft_seconds": heard.first_seconds or 0.0}
    talking_seconds = heard.last_seconds - figures["ttft_seconds"]
    if heard.completion_tokens > 1 and talking_seconds > 0:
        figures["tokens_per_second"] = (heard.completion_tokens - 1) / talking_seconds
    speed = f", {figures['tokens_per_second']:.1f} tokens/s" if "tokens_per_second" in figures else ""
    print_fact(
        console,
        "took",
        f"{duration(heard.last_seconds)}, first token after {duration(figures['ttft_seconds'])}, "
        f"{heard.completion_tokens} tokens{speed}",
    )
    return Step(question.title, heard.last_seconds, figures)


def _listen(server: Server, question: Question, parts: list[Any], console: Console) -> _Heard:
    heard = _Heard()
    started = time.perf_counter()
    with (
        server.translating(),
        server.openai.chat.completions.create(
            model="default",
            messages=[{"role": "user", "content": parts}],
            max_tokens=question.max_tokens,
            temperature=0,
            stream=True,
            stream_options={"include_usage": True},
        ) as events,
    ):
        for event in events:
            heard.media += media_used(event)
            if event.usage is not None:
                heard.completion_tokens = event.usage.completion_tokens
            for choice in event.choices:
                heard.finish_reason = choice.finish_reason or heard.finish_reason
                if choice.delta.content:
                    heard.last_seconds = time.perf_counter() - started
                    heard.first_seconds = heard.first_seconds or heard.last_seconds
                    heard.text += choice.delta.content
                    console.print(choice.delta.content, end="", markup=False, highlight=False, soft_wrap=True)
    return heard


def _check(question: Question, library: Library, heard: _Heard) -> None:
    if not heard.text.strip():
        raise TourFailed(f"The answer to '{question.text}' is empty.")
    if heard.finish_reason not in ("stop", "length"):
        raise TourFailed(f"The answer to '{question.text}' broke off (finish_reason {heard.finish_reason}).")
    if heard.completion_tokens == 0:
        raise TourFailed(f"The answer to '{question.text}' came without its usage.")
    sent = [library.kind(name) for name in question.media]
    used = [medium.get("kind") for medium in heard.media]
    if sent != used:
        raise TourFailed(f"Media of the kinds {sent} were sent, but the answer says that {used} were used.")
    for medium in heard.media:
        expected = {"image": "labels", "audio": "transcript_segments", "video": "frames"}[medium["kind"]]
        if not medium.get(expected):
            raise TourFailed(f"Nothing was perceived of the {medium['kind']}: its '{expected}' are empty.")
