"""What the micro-batcher costs: throughput beside a bare loop over ready batches, and time added to a lone call.

Throughput: 64 callers, each embedding one short text after the other with MiniLM, against ``encoder.run`` called
in a loop on full batches that were tokenised and put together beforehand. Callers who wait for their answers cannot
fill batches of 64 (some wait while others are served), so the very batches that the batcher ran are also run again
in a bare loop: against these, what is lost is the batcher's own cost. All of it again with a fake encoder that only
sleeps as long as a small GPU model takes (0.5 ms and 50 microseconds a text).
Lone call: ``submit`` of one text against ``prepare`` and ``run`` called directly.
All variants take turns within a round. Goal: >= 0.9 of the bare loop with MiniLM. Exit code 1 when the median of
the rounds misses it. ``python -m benchmarks.batching`` runs it.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import sys
import time
from collections.abc import Hashable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.plots import bars
from benchmarks.report import ratios, summary, write
from encoders import registry
from encoders.batching.micro_batcher import MicroBatcher
from encoders.config import BatchLimits, EncoderConfig

THROUGHPUT_GOAL = 0.9
_CALLERS = 64
_WORDS = (
    "photo",
    "two",
    "dogs",
    "running",
    "along",
    "beach",
    "people",
    "watching",
    "wooden",
    "pier",
    "sunset",
)
_LIMITS = BatchLimits(max_items=64, max_cost=8192, max_queued=4096)


def main() -> int:
    """Measure, print, write ``results/batching.json`` and ``.svg``; the exit code says whether the goal was met."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--rounds", type=int, default=15)
    options.add_argument("--texts", type=int, default=384, help="per variant and round")
    options.add_argument("--lone-calls", type=int, default=50, help="per variant and round")
    options.add_argument("--models-dir", type=Path, default=Path.home() / ".cache/manymodal/models")
    given = options.parse_args()

    config = EncoderConfig(models_dir=given.models_dir)
    minilm: Any = registry.load(config.text_model, config)
    measured: dict[str, dict[str, list[float]]] = {}
    for name, encoder in (("MiniLM", minilm), ("fake", _FakeEncoder())):
        measured[name] = asyncio.run(_measure(encoder, given.rounds, given.texts, given.lone_calls))

    result: dict[str, Any] = {}
    for name, values in measured.items():
        result[name] = {kind: summary(rounds) for kind, rounds in values.items()}
        result[name]["throughput_ratio"] = ratios(values["batcher_per_second"], values["bare_per_second"])
        result[name]["same_batches_ratio"] = ratios(
            values["batcher_per_second"], values["same_batches_per_second"]
        )
        added = np.subtract(values["lone_submit_microseconds"], values["lone_direct_microseconds"])
        result[name]["lone_added_microseconds"] = summary([float(one) for one in added])
        for kind, seen in result[name].items():
            print(f"{name} {kind}: {seen['median']:.3f} ({seen['min']:.3f}-{seen['max']:.3f})")
    ratio = result["MiniLM"]["throughput_ratio"]["median"]
    result["goals"] = {"throughput_ratio_min": THROUGHPUT_GOAL}
    result["settings"] = {
        "command": "python -m benchmarks.batching",
        "rounds": given.rounds,
        "texts": given.texts,
        "callers": _CALLERS,
        "max_items": _LIMITS.max_items,
    }
    print(f"Written to {write('batching', result)}")
    series = {f"{name}: batcher / bare loop": _spread(result[name]["throughput_ratio"]) for name in measured}
    bars(
        "batching",
        "Throughput of 64 callers behind the micro-batcher",
        "ratio to a bare loop",
        series,
        THROUGHPUT_GOAL,
    )
    if ratio < THROUGHPUT_GOAL:
        print(f"MISSED: {ratio:.3f} of the bare loop's throughput, {THROUGHPUT_GOAL} is the goal")
        return 1
    return 0


class _FakeEncoder:
    """Takes a small GPU model's time without using a processor."""

    def prepare(self, items: Sequence[str]) -> list[str]:
        return list(items)

    def bucket(self, prepared: str) -> Hashable:
        return len(prepared) // 64

    def cost(self, prepared: str) -> int:
        return len(prepared) // 4

    def run(self, batch: Sequence[str]) -> list[int]:
        time.sleep(0.0005 + 0.00005 * len(batch))
        return [len(one) for one in batch]


class _Recorder:
    """An encoder that remembers the batches it ran."""

    def __init__(self, encoder: Any) -> None:
        self.prepare, self.bucket, self.cost = encoder.prepare, encoder.bucket, encoder.cost
        self._run = encoder.run
        self._batches: list[list[Any]] = []

    def run(self, batch: Sequence[Any]) -> list[Any]:
        self._batches.append(list(batch))
        return list(self._run(batch))

    def taken(self) -> list[list[Any]]:
        """The batches since the last call."""
        taken, self._batches = self._batches, []
        return taken


def _run_all(encoder: Any, batches: Sequence[Sequence[Any]]) -> None:
    for batch in batches:
        encoder.run(batch)


async def _measure(encoder: Any, rounds: int, texts: int, lone_calls: int) -> dict[str, list[float]]:
    dice = np.random.default_rng(2026)
    asked = [" ".join(dice.choice(_WORDS, dice.integers(4, 24))) for _ in range(texts)]
    ready = _batches(encoder, asked)
    recorder = _Recorder(encoder)
    batcher: MicroBatcher[str, Any] = MicroBatcher(recorder, _LIMITS)
    measured: dict[str, list[float]] = {
        "bare_per_second": [],
        "same_batches_per_second": [],
        "batcher_per_second": [],
        "batcher_batch_items": [],
        "lone_direct_microseconds": [],
        "lone_submit_microseconds": [],
    }
    await _ask_all(batcher, asked)  # starts threads, fills memory, records batches
    same = recorder.taken()
    for number in range(rounds):
        order = ("bare", "batcher", "same_batches")
        for which in order if number % 2 else order[::-1]:
            started = time.perf_counter()
            if which == "batcher":
                await _ask_all(batcher, asked)
            else:
                await asyncio.to_thread(_run_all, encoder, ready if which == "bare" else same)
            measured[f"{which}_per_second"].append(texts / (time.perf_counter() - started))
        same = recorder.taken()
        measured["batcher_batch_items"].append(texts / len(same))
        direct, submitted = [], []
        for text in asked[:lone_calls]:
            started = time.perf_counter()
            encoder.run(encoder.prepare([text]))
            between = time.perf_counter()
            await batcher.submit([text])
            direct.append(1e6 * (between - started))
            submitted.append(1e6 * (time.perf_counter() - between))
        recorder.taken()
        measured["lone_direct_microseconds"].append(statistics.median(direct))
        measured["lone_submit_microseconds"].append(statistics.median(submitted))
    await batcher.aclose()
    return measured


async def _ask_all(batcher: MicroBatcher[str, Any], texts: Sequence[str]) -> None:
    """Embed all texts, ``_CALLERS`` at a time."""
    waiting = iter(texts)

    async def caller() -> None:
        for text in waiting:
            await batcher.submit([text])

    await asyncio.gather(*[caller() for _ in range(_CALLERS)])


def _batches(encoder: Any, texts: Sequence[str]) -> list[list[Any]]:
    """The texts, prepared, in the fullest batches that the limits allow."""
    buckets: dict[Hashable, list[list[Any]]] = {}
    for prepared in encoder.prepare(texts):
        batches = buckets.setdefault(encoder.bucket(prepared), [[]])
        cost = sum(map(encoder.cost, batches[-1])) + encoder.cost(prepared)
        if len(batches[-1]) == _LIMITS.max_items or cost > _LIMITS.max_cost:
            batches.append([])
        batches[-1].append(prepared)
    return [batch for batches in buckets.values() for batch in batches]


def _spread(seen: dict[str, float]) -> tuple[float, float, float]:
    return seen["median"], seen["min"], seen["max"]


if __name__ == "__main__":
    sys.exit(main())
