"""A new version of every deployment under long streams: no token of theirs may be lost or doubled.

The real application on real Ray behind Ray Serve's HAProxy, with a stand-in engine whose tokens are numbered. All
streams have begun when the update does, and outlast it: they end on replicas of the version before. Beside them
short answers are asked for throughout, as OpenAI's client asks (twice again where nothing of an answer came), and
none may fail. ``make bench-rolling-update``; exit code 1 when the goal is missed.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.numbered_streams import Answer, Arrivals, ask_again, outcomes, read_answer, session, spread
from benchmarks.paced_deployments import Pace
from benchmarks.paced_platform import PacedPlatform, paced_settings
from benchmarks.report import write

_SHORT_TOKENS = 5
_NEW_SECONDS = 60.0  # so long after the update the first answer of the new version is waited for


@dataclass(frozen=True, slots=True)
class Updated:
    """What was seen: the long streams, and the short answers that were asked for meanwhile."""

    long: tuple[Answer, ...]
    short: tuple[Answer, ...]
    update_seconds: float

    @property
    def lost(self) -> int:
        """Tokens that never came."""
        return sum(answer.lost for answer in (*self.long, *self.short))

    @property
    def doubled(self) -> int:
        """Tokens that came again."""
        return sum(answer.doubled for answer in (*self.long, *self.short))

    @property
    def dropped(self) -> int:
        """Long streams that did not come to their end."""
        return sum(answer.ended != "complete" for answer in self.long)

    @property
    def failed(self) -> int:
        """Short answers that were not given."""
        return sum(answer.ended != "complete" for answer in self.short)

    @property
    def refusals(self) -> list[str]:
        """What was answered to short questions that were then asked again."""
        return [words for answer in self.short for words in answer.refusals]


async def update_under_streams(
    platform: PacedPlatform, after: Pace, streams: int, tokens: int, short_per_second: float
) -> Updated:
    """Begin ``streams`` of ``tokens`` each, replace every replica, and read all to the end."""
    async with session(platform.base_url) as client:
        long = Arrivals(lambda answer: read_answer(client, tokens, answer))
        short = Arrivals(lambda answer: ask_again(client, _SHORT_TOKENS, answer))
        for _ in range(streams):
            long.begin()
        await long.under_way(streams)
        started = time.perf_counter()
        update = asyncio.create_task(asyncio.to_thread(platform.deploy, {}, after))
        while not update.done():
            await short.run(short_per_second, 1.0)
        await update
        update_seconds = time.perf_counter() - started
        async with asyncio.timeout(_NEW_SECONDS):
            while not any(_is_of(answer, after) for answer in short.answers):
                await short.run(short_per_second, 1.0)
        return Updated(tuple(await long.settled()), tuple(await short.settled()), update_seconds)


def _is_of(answer: Answer, pace: Pace) -> bool:
    return any(name.startswith(f"paced-{pace.version}-") for name in answer.fingerprints)


def main() -> int:
    """Measure, print, write ``results/rolling_update.json``."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--streams", type=int, default=100)
    options.add_argument("--tokens", type=int, default=480)
    options.add_argument("--tokens-per-second", type=float, default=4.0)
    given = options.parse_args()
    before = Pace(tokens=given.tokens, tokens_per_second=given.tokens_per_second)
    after = Pace(tokens=given.tokens, tokens_per_second=given.tokens_per_second, version="2")
    with tempfile.TemporaryDirectory(prefix="manymodal-bench-") as folder:
        settings = paced_settings(
            Path(folder),
            drain_seconds=600,
            chat={"max_streams": given.streams},
            deployments={"gateway": {"num_replicas": 2}, "engine": {"num_replicas": 2}},
        )
        with PacedPlatform(settings, before, Path(folder) / "log") as platform:
            seen = asyncio.run(update_under_streams(platform, after, given.streams, given.tokens, 2.0))
    result: dict[str, Any] = {
        "streams": outcomes(seen.long),
        "short_answers": outcomes(seen.short),
        "short_ttft_seconds": spread([a.ttft_seconds for a in seen.short if a.token_times]),
        "tokens": sum(len(answer.numbers) for answer in seen.long),
        "lost_tokens": seen.lost,
        "doubled_tokens": seen.doubled,
        "dropped_streams": seen.dropped,
        "failed_short_answers": seen.failed,
        "asked_again": seen.refusals,
        "update_seconds": round(seen.update_seconds, 1),
        "answered_by": sorted({name for answer in (*seen.long, *seen.short) for name in answer.fingerprints}),
        "messages": sorted({a.message for a in (*seen.long, *seen.short) if a.message})[:5],
        "goals": {"lost_tokens": 0, "doubled_tokens": 0, "dropped_streams": 0, "failed_short_answers": 0},
        "settings": {"gateways": 2, "engines": 2, "streams": given.streams, "pace": asdict(before)},
    }
    print(
        f"{given.streams} streams through an update of {seen.update_seconds:.0f} s: {seen.dropped} dropped, "
        f"{seen.lost} tokens lost, {seen.doubled} doubled; short answers meanwhile: {outcomes(seen.short)}"
    )
    print(f"Written to {write('rolling_update', result)}")
    met = all(result[name] == goal for name, goal in result["goals"].items())
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
