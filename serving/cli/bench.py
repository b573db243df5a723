"""``manymodal bench``: how fast a running platform answers, or the repository's benchmarks by name."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from serving.cli.exit_codes import ExitCode
from serving.cli.failures import ClientFailure, NoAnswerInTime, NoServer, UnusableInput
from serving.cli.inputs import stored
from serving.cli.messages import note, notes, print_json, print_table
from serving.cli.options import DEFAULT_URL, ApiKey, AsJson, Model, Url, connected

if TYPE_CHECKING:
    from serving.cli.client import Server

__all__ = ["Answered", "Load", "bench", "percentile", "summary"]

_PROMPT = "Write a long and detailed story about a lighthouse keeper."


@dataclass(frozen=True, slots=True)
class Answered:
    """One streamed answer: when its first and its last piece came after the request, and its tokens."""

    first_token_seconds: float
    seconds: float
    tokens: int


@dataclass(frozen=True, slots=True)
class Load:
    """What to send: ``requests`` in all, ``concurrency`` of them at a time."""

    requests: int
    concurrency: int
    model: str
    prompt: str
    max_tokens: int
    media: tuple[dict[str, Any], ...] = ()


def bench(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="NAME...",
            help="Benchmarks of the repository, in a checkout (`manymodal bench list` lists them). Without: a load "
            "on a running platform.",
        ),
    ] = None,
    requests: Annotated[int, typer.Option("--requests", "-n", min=1, help="Requests in all.")] = 16,
    concurrency: Annotated[int, typer.Option("--concurrency", "-c", min=1, help="So many at a time.")] = 4,
    max_tokens: Annotated[int, typer.Option(min=1, help="Longest answer.")] = 64,
    prompt: Annotated[
        str, typer.Option(help="What is asked; a number before it makes each one new.")
    ] = _PROMPT,
    image: Annotated[
        list[str] | None,
        typer.Option("--image", "-i", metavar="FILE|URL|ID", help="A picture that each question brings."),
    ] = None,
    model: Model = "default",
    url: Url = DEFAULT_URL,
    api_key: ApiKey = None,
    as_json: AsJson = False,
) -> None:
    """Ask many questions at once and say how the answers came: first token, tokens a second, whole time.

    One question goes before, unmeasured. It is a quick look, with all requests in a closed loop from this machine;
    `make bench` compares with other servers. The exit code is 1 when a request failed.
    """
    if names:
        raise typer.Exit(_repository(names, as_json))
    with connected(url, api_key) as server:
        media = tuple(
            {"type": "image_url", "image_url": {"url": stored(server, given)}} for given in image or ()
        )
        load = Load(requests, concurrency, model, prompt, max_tokens, media)
        with notes().status(f"Asking {requests} questions, {concurrency} at a time") as status:
            answered, failed, seconds = asyncio.run(
                _run(server, load, lambda done: status.update(f"{done} of {requests} answered"))
            )
    found = summary(answered, seconds)
    if as_json:
        sent = {name: value for name, value in asdict(load).items() if name != "media"} | {
            "media": len(media)
        }
        print_json({"url": server.url, "load": sent, "failed": dict(failed), **found})
    elif answered:
        _print(found, load)
    for message, count in failed.items():
        note(f"{count} failed: {message}", "red")
    if failed:
        raise typer.Exit(ExitCode.FAILED)


async def _run(
    server: Server, load: Load, progress: Callable[[int], None]
) -> tuple[list[Answered], Counter[str], float]:
    """Send the load; what was answered, how often what went wrong, and the seconds of it all.

    Raises ``NoServer``, and what the first, unmeasured question meets.
    """
    answered: list[Answered] = []
    failed: Counter[str] = Counter()
    numbers = iter(range(1, load.requests + 1))
    async with server.async_openai() as client:
        with server.translating():
            await _ask(client, load, 0)

        async def worker() -> None:
            for number in numbers:
                try:
                    with server.translating():
                        answered.append(await _ask(client, load, number))
                except ClientFailure as failure:
                    # One that is late is a figure of the load; with nobody there, there is nothing to measure.
                    if isinstance(failure, NoServer) and not isinstance(failure, NoAnswerInTime):
                        raise
                    failed[failure.message] += 1
                progress(len(answered) + sum(failed.values()))

        started = time.perf_counter()
        await asyncio.gather(*(worker() for _ in range(min(load.concurrency, load.requests))))
        return answered, failed, time.perf_counter() - started


async def _ask(client: Any, load: Load, number: int) -> Answered:
    content = [*load.media, {"type": "text", "text": f"({number}) {load.prompt}"}]
    started = time.perf_counter()
    first: float | None = None
    tokens = 0
    events = await client.chat.completions.create(
        model=load.model,
        messages=[{"role": "user", "content": content}],
        max_tokens=load.max_tokens,
        temperature=0,
        stream=True,
        stream_options={"include_usage": True},
    )
    async with events:
        async for event in events:
            if first is None and any(choice.delta.content for choice in event.choices):
                first = time.perf_counter() - started
            if event.usage is not None:
                tokens = event.usage.completion_tokens
    seconds = time.perf_counter() - started
    return Answered(seconds if first is None else first, seconds, tokens)


def summary(answered: list[Answered], seconds: float) -> dict[str, Any]:
    """Figures of all answers. Times are in seconds; ``itl`` is the mean time between two tokens of an answer."""
    tokens = sum(one.tokens for one in answered)
    between = [
        (one.seconds - one.first_token_seconds) / (one.tokens - 1) for one in answered if one.tokens > 1
    ]
    return {
        "answered": len(answered),
        "seconds": seconds,
        "completion_tokens": tokens,
        "tokens_per_second": tokens / seconds if seconds else None,
        "requests_per_second": len(answered) / seconds if seconds else None,
        "ttft_seconds": _spread([one.first_token_seconds for one in answered]),
        "itl_seconds": _spread(between),
        "e2e_seconds": _spread([one.seconds for one in answered]),
    }


def percentile(values: list[float], share: float) -> float:
    """The smallest value that at least ``share`` of the values do not exceed. ``values`` must not be empty."""
    ordered = sorted(values)
    return ordered[max(0, -(-len(ordered) * round(share * 100) // 100) - 1)]


def _spread(values: list[float]) -> dict[str, float] | None:
    if not values:
        return None
    return {"p50": percentile(values, 0.5), "p95": percentile(values, 0.95), "max": max(values)}


def _print(found: dict[str, Any], load: Load) -> None:
    note(
        f"{found['answered']} answers of at most {load.max_tokens} tokens in {found['seconds']:.1f} s, "
        f"{load.concurrency} at a time."
    )
    rows = [
        (name, *(f"{1000 * found[key][part]:.0f} ms" for part in ("p50", "p95", "max")))
        for name, key in (
            ("First token", "ttft_seconds"),
            ("Between tokens", "itl_seconds"),
            ("Whole answer", "e2e_seconds"),
        )
        if found[key] is not None
    ]
    print_table(("Time", "Median", "p95", "Longest"), rows, whole=4)
    typer.echo(f"{found['tokens_per_second']:.1f} tokens/s, {found['requests_per_second']:.2f} answers/s")


def _repository(names: list[str], as_json: bool) -> int:
    """Run benchmarks of a checkout; their exit code."""
    if not all(Path("benchmarks", name).is_file() for name in ("__init__.py", "__main__.py")):
        raise UnusableInput(
            "The benchmarks by name are in the repository: run this in a checkout of it. Without a name, "
            "`manymodal bench` measures the running platform."
        )
    if as_json:
        raise UnusableInput(
            "The repository's benchmarks write their JSON to benchmarks/results; leave --json out."
        )
    options = ["--list"] if names == ["list"] else names
    return subprocess.run([sys.executable, "-m", "benchmarks", *options], check=False).returncode  # noqa: S603 -- ours
