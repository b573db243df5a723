"""One, two and four gateways and encoder replicas: how much of the added replicas arrives as requests a second.

The real application on real Ray behind Ray Serve's HAProxy. The encoder is a stand-in that sleeps for a fixed time
for each text, one at a time, so that two cores are no limit. Each size is asked as fast as it answers, by four
clients for every replica. Goal: four give at least 0.9 of four times what one gives. ``make bench-scale-out``; exit
code 1 when the goal is missed.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.numbered_streams import Answer, outcomes, read_embedding, session, spread
from benchmarks.paced_deployments import Pace
from benchmarks.paced_platform import PacedPlatform, paced_settings
from benchmarks.plots import bars
from benchmarks.report import summary, write

GOAL = 0.9
SIZES = (1, 2, 4)
_CLIENTS_PER_REPLICA = 4


async def throughput(base_url: str, clients: int, seconds: float) -> tuple[float, list[Answer]]:
    """Answers a second when ``clients`` ask one question after the other, and all of them."""
    answers: list[Answer] = []
    async with session(base_url) as client:
        first = await asyncio.gather(*(read_embedding(client) for _ in range(clients)))
        if any(answer.ended != "complete" for answer in first):
            raise RuntimeError(f"not every question is answered: {[answer.message for answer in first]}")
        begun = time.perf_counter()

        async def ask() -> None:
            while time.perf_counter() < begun + seconds:
                answers.append(await read_embedding(client))

        await asyncio.gather(*(ask() for _ in range(clients)))
    within = sum(
        answer.ended == "complete" and answer.token_times[0] <= begun + seconds for answer in answers
    )
    return within / seconds, answers


def main() -> int:
    """Measure, print, write ``results/scale_out.json`` and a plot."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--seconds", type=float, default=20.0, help="of each round")
    options.add_argument("--encode-seconds", type=float, default=0.2)
    given = options.parse_args()
    pace = Pace(encode_seconds=given.encode_seconds)
    rates: dict[int, list[float]] = {}
    answers: dict[int, list[Answer]] = {}
    with tempfile.TemporaryDirectory(prefix="manymodal-bench-") as folder:
        settings = paced_settings(Path(folder), deployments=_sized(SIZES[0]))
        with PacedPlatform(settings, pace, Path(folder) / "log") as platform:
            for size in SIZES:
                if size != SIZES[0]:
                    platform.deploy({"deployments": _sized(size)}, pace)
                for _ in range(given.rounds):
                    rate, heard = asyncio.run(
                        throughput(platform.base_url, size * _CLIENTS_PER_REPLICA, given.seconds)
                    )
                    rates.setdefault(size, []).append(rate)
                    answers.setdefault(size, []).extend(heard)
                print(f"{size} gateways and encoders: {statistics.median(rates[size]):.1f} answers/s")
    one = statistics.median(rates[1])
    efficiency = {size: [rate / (size * one) for rate in rates[size]] for size in SIZES}
    result: dict[str, Any] = {
        "answers_per_second": {str(size): summary(rates[size]) for size in SIZES},
        "efficiency": {str(size): summary(efficiency[size]) for size in SIZES},
        "seconds": {str(s): spread([a.ttft_seconds for a in answers[s] if a.token_times]) for s in SIZES},
        "outcomes": {str(size): outcomes(answers[size]) for size in SIZES},
        "ceiling_per_replica": 1 / given.encode_seconds,
        "goals": {"efficiency_at_4_min": GOAL},
        "settings": {"encode_seconds": given.encode_seconds, "clients_per_replica": _CLIENTS_PER_REPLICA},
    }
    bars(
        "scale_out",
        "Gateways and encoders, one to four of each",
        "share of as many times one",
        {str(size): (statistics.median(e), min(e), max(e)) for size, e in efficiency.items()},
        GOAL,
    )
    reached = statistics.median(efficiency[SIZES[-1]])
    print(f"efficiency at {SIZES[-1]}: {reached:.3f}. Written to {write('scale_out', result)}")
    return 0 if reached >= GOAL else 1


def _sized(size: int) -> dict[str, Any]:
    return {"gateway": {"num_replicas": size}, "perception": {"num_replicas": size}}


if __name__ == "__main__":
    sys.exit(main())
