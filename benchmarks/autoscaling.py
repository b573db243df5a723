"""Replicas of the engine and of the encoders follow the load, up and down.

The real application on real Ray behind Ray Serve's HAProxy, with stand-ins of fixed pace and cost. Questions come
at a rate that rises, falls and rises again, whether those before were answered or not; every second it is noted how
many replicas there are. The engine is scaled by requests under way, the encoders by how long texts wait for
the model. Goals: each reaches as many replicas as the load needs and goes back to one, and nobody is refused or
broken off. ``make bench-autoscaling`` writes the counts over time as JSON and as a plot; exit code 1 when a goal is
missed.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.numbered_streams import (
    Answer,
    Arrivals,
    outcomes,
    read_answer,
    read_embedding,
    session,
    spread,
)
from benchmarks.paced_deployments import Pace
from benchmarks.paced_platform import PacedPlatform, paced_settings
from benchmarks.plots import steps
from benchmarks.report import write

_TOKENS = 16
_SAMPLE_SECONDS = 1.0
_CHANGE_SECONDS = 120.0  # so long it may take until replicas have started, or have gone
WATCHED = ("engine", "perception")


@dataclass(frozen=True, slots=True)
class Sample:
    """Replicas that run, by deployment, at a time in seconds since the load began."""

    seconds: float
    running: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Followed:
    """Counts over time, and what was answered."""

    samples: tuple[Sample, ...]
    answers: tuple[Answer, ...]
    vectors: tuple[Answer, ...]

    def most(self, deployment: str) -> int:
        """The largest number of replicas."""
        return max(sample.running[deployment] for sample in self.samples)

    def last(self, deployment: str) -> int:
        """How many there were at the end."""
        return self.samples[-1].running[deployment]


async def follow(
    platform: PacedPlatform,
    pattern: Sequence[tuple[float, float, float]],
    tokens: int,
    *,
    watched: Sequence[str] = WATCHED,
    until_most: int | None = None,
) -> Followed:
    """Play ``pattern``, (chats a second, embeddings a second, seconds) each, then wait until all that is
    ``watched`` is back at one replica, at most two minutes. With ``until_most`` the last step of the pattern goes
    on until each has had so many, at most two minutes, too.
    """
    samples: list[Sample] = []
    begun = time.perf_counter()

    async def sample() -> None:
        replicas = await asyncio.to_thread(platform.replicas)
        running = {name: replicas.get(name, {}).get("RUNNING", 0) for name in watched}
        samples.append(Sample(round(time.perf_counter() - begun, 2), running))
        await asyncio.sleep(_SAMPLE_SECONDS)

    def has_had(count: int) -> bool:
        return all(any(one.running[name] >= count for one in samples) for name in watched)

    async with session(platform.base_url) as client:
        chats = Arrivals(lambda answer: read_answer(client, tokens, answer))
        texts = Arrivals(lambda answer: read_embedding(client, answer))

        async def play() -> None:
            for chat_rate, text_rate, seconds in pattern:
                await asyncio.gather(chats.run(chat_rate, seconds), texts.run(text_rate, seconds))
            ends = time.perf_counter() + _CHANGE_SECONDS
            while until_most and not has_had(until_most) and time.perf_counter() < ends:
                await asyncio.gather(chats.run(chat_rate, seconds), texts.run(text_rate, seconds))

        playing = asyncio.create_task(play())
        while not playing.done():
            await sample()
        await playing
        answers, vectors = await chats.settled(), await texts.settled()
        ends = time.perf_counter() + _CHANGE_SECONDS
        while time.perf_counter() < ends and any(samples[-1].running[name] > 1 for name in watched):
            await sample()
    return Followed(tuple(samples), tuple(answers), tuple(vectors))


def main() -> int:
    """Measure, print, write ``results/autoscaling.json`` and a plot."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--seconds", type=float, default=45.0, help="of each step of the load")
    given = options.parse_args()
    pace = Pace(tokens=_TOKENS, tokens_per_second=8.0, encode_seconds=0.2)
    answer_seconds = pace.first_token_seconds + (_TOKENS - 1) / pace.tokens_per_second
    # Chats and embeddings a second: for one, two, four replicas of each, then one, then three.
    rates = [(1.5, 2.0), (5.0, 7.0), (11.0, 15.0), (1.5, 2.0), (8.0, 11.0), (0.5, 0.5)]
    pattern = [(chats, texts, given.seconds) for chats, texts in rates]
    scaled = {"min_replicas": 1, "max_replicas": 4, "upscale_delay_seconds": 2, "downscale_delay_seconds": 10}
    engine = {**scaled, "target_ongoing_requests": 6, "look_back_seconds": 11}
    encoders = {**scaled, "target_ongoing_requests": 8, "target_queue_seconds": 0.2, "look_back_seconds": 11}
    deployments = {
        "gateway": {"num_replicas": 2},
        "engine": {"autoscaling": engine, "max_ongoing_requests": 64},
        "perception": {"autoscaling": encoders, "max_ongoing_requests": 64},
    }
    with tempfile.TemporaryDirectory(prefix="manymodal-bench-") as folder:
        settings = paced_settings(Path(folder), chat={"max_streams": 16}, deployments=deployments)
        with PacedPlatform(settings, pace, Path(folder) / "log") as platform:
            seen = asyncio.run(follow(platform, pattern, _TOKENS))
    failed = sum(answer.ended != "complete" for answer in (*seen.answers, *seen.vectors))
    result: dict[str, Any] = {
        "replicas": [{"seconds": sample.seconds, **sample.running} for sample in seen.samples],
        "most": {name: seen.most(name) for name in WATCHED},
        "last": {name: seen.last(name) for name in WATCHED},
        "chats": outcomes(seen.answers),
        "embeddings": outcomes(seen.vectors),
        "ttft_seconds": spread([a.ttft_seconds for a in seen.answers if a.token_times]),
        "embedding_seconds": spread([a.ttft_seconds for a in seen.vectors if a.token_times]),
        "failed": failed,
        "goals": {"most_min": 3, "last": 1, "failed": 0},
        "settings": {
            "pattern": [{"chats": c, "embeddings": t, "seconds": s} for c, t, s in pattern],
            "answer_seconds": round(answer_seconds, 2),
            "pace": asdict(pace),
            "deployments": deployments,
        },
    }
    _plot(seen, pattern)
    print(f"most {result['most']}, at the end {result['last']}, chats {result['chats']}, failed {failed}")
    print(f"Written to {write('autoscaling', result)}")
    met = not failed and all(result["most"][n] >= 3 and result["last"][n] == 1 for n in WATCHED)
    return 0 if met else 1


def _plot(seen: Followed, pattern: Sequence[tuple[float, float, float]]) -> None:
    begins, load = 0.0, []
    for chats, _, seconds in pattern:
        load.append((begins, chats))
        begins += seconds
    times = [sample.seconds for sample in seen.samples]
    load.append((max(times[-1], begins), 0.0))
    steps(
        "autoscaling",
        "Replicas under a changing load",
        "replicas",
        {name: (times, [sample.running[name] for sample in seen.samples]) for name in WATCHED},
        ("chats a second", [second for second, _ in load], [rate for _, rate in load]),
    )


if __name__ == "__main__":
    sys.exit(main())
