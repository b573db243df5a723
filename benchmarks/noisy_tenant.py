"""TTFT of one tenant while another keeps to its quota, and while it sends twenty times as much.

One platform with keys. The quiet tenant streams short answers one after the other; the noisy one has a quota of
requests a minute and at once. Three conditions take turns in changing order: the noisy tenant is silent, sends just
its quota evenly, or twenty times that. Goal: the p95 of the quiet tenant's TTFT moves by at most 15 % from the
second to the third. Exit code 1 when the median of the rounds misses it. ``make bench-fairness``.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import aiohttp

from benchmarks.chat import platform_command
from benchmarks.load import stream_answer
from benchmarks.report import ratios, summary, write
from benchmarks.servers import server
from deploy.ports import free_port
from deploy.settings import Settings, load_settings

GOAL = 1.15
QUOTA = {"requests_per_minute": 30, "concurrent_requests": 2}
TIMES_QUOTA = {"silent": 0, "at quota": 1, "at 20 times its quota": 20}
TOKENS = 16
_numbers = itertools.count()


def main() -> int:
    """Measure, print, write ``results/noisy_tenant.json``; the exit code says whether the goal was met."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--seconds", type=float, default=60.0, help="of each condition and round")
    given = options.parse_args()
    with tempfile.TemporaryDirectory(prefix="manymodal-bench-") as folder:
        settings = load_settings({"port": free_port(), "data_dir": Path(folder) / "data"})
        keys = {tenant: _key(settings, tenant) for tenant in ("quiet", "noisy")}
        limits = [word for name, value in QUOTA.items() for word in ("--limit", f"{name}={value}")]
        _manymodal(settings, "tenants", "set", "noisy", *limits)
        base_url = f"http://127.0.0.1:{settings.port}"
        with server(platform_command(settings), base_url, "/ready", Path(folder) / "log"):
            measured = asyncio.run(_measure(base_url, keys, given.rounds, given.seconds))
    p95 = {name: [_p95(times) for times, _ in rounds] for name, rounds in measured.items()}
    within, beyond = p95["at quota"], p95["at 20 times its quota"]
    result: dict[str, Any] = {
        "ttft_p95_seconds": {name: summary(values) for name, values in p95.items()},
        "noisy_answers": {
            name: _added(answers for _, answers in rounds) for name, rounds in measured.items()
        },
        "ratio_to_quota": ratios(beyond, within),
        "ratio_to_silence": ratios(beyond, p95["silent"]),
        "goals": {"ratio_to_quota_max": GOAL},
        "settings": {"quota": QUOTA, "tokens": TOKENS, "seconds": given.seconds},
    }
    for name, values in p95.items():
        print(
            f"{name}: p95 {statistics.median(values) * 1000:.0f} ms, noisy: {result['noisy_answers'][name]}"
        )
    ratio = result["ratio_to_quota"]
    print(
        f"20 times the quota: {ratio['median']:.2f} of the p95 at the quota ({ratio['min']:.2f}-{ratio['max']:.2f})"
    )
    print(f"  and {result['ratio_to_silence']['median']:.2f} of that of silence")
    print(f"Written to {write('noisy_tenant', result)}")
    if ratio["median"] > GOAL:
        print(f"MISSED: {ratio['median']:.3f} is over {GOAL}")
        return 1
    return 0


async def _measure(
    base_url: str, keys: dict[str, str], rounds: int, seconds: float
) -> dict[str, list[tuple[list[float], dict[str, int]]]]:
    """By condition and round: the quiet tenant's TTFTs, and how the noisy one's requests were answered."""
    measured: dict[str, list[tuple[list[float], dict[str, int]]]] = {name: [] for name in TIMES_QUOTA}
    timeout = aiohttp.ClientTimeout(total=120)
    quiet, noisy = (
        aiohttp.ClientSession(base_url, timeout=timeout, headers={"authorization": f"Bearer {keys[name]}"})
        for name in ("quiet", "noisy")
    )
    async with quiet, noisy:
        await _ask(quiet)  # the first answer of a platform is slower than all that follow
        for number in range(rounds):
            names = list(TIMES_QUOTA)
            for name in names[number % 3 :] + names[: number % 3]:
                ends_at = time.perf_counter() + seconds
                noise = asyncio.create_task(_noise(noisy, TIMES_QUOTA[name], ends_at))
                times = []
                while time.perf_counter() < ends_at:
                    times.append(await _ask(quiet))
                    await asyncio.sleep(0.1)
                measured[name].append((times, await noise))
    return measured


async def _noise(session: aiohttp.ClientSession, times_quota: int, ends_at: float) -> dict[str, int]:
    """Requests at an even pace, whether the ones before were answered or not; how many had which status."""
    answers: dict[str, int] = {}

    async def send() -> None:
        async with session.post("/v1/chat/completions", json=_question()) as response:
            await response.read()
            answers[str(response.status)] = answers.get(str(response.status), 0) + 1

    if not times_quota:
        await asyncio.sleep(max(0.0, ends_at - time.perf_counter()))
        return answers
    pause = 60.0 / (QUOTA["requests_per_minute"] * times_quota)
    async with asyncio.TaskGroup() as sending:
        while time.perf_counter() < ends_at:
            sending.create_task(send())
            await asyncio.sleep(pause)
    return answers


def _question() -> dict[str, Any]:
    # The number makes every prompt new to the prefix cache.
    content = f"({next(_numbers)}) Write a long story about a lighthouse keeper."
    messages = [{"role": "user", "content": content}]
    return {"model": "default", "messages": messages, "max_tokens": TOKENS, "temperature": 0}


async def _ask(session: aiohttp.ClientSession) -> float:
    return (await stream_answer(session, _question()))[1]


def _p95(times: list[float]) -> float:
    return statistics.quantiles(times, n=20, method="inclusive")[-1]


def _added(answers: Any) -> dict[str, int]:
    total: dict[str, int] = {}
    for one in answers:
        for status, count in one.items():
            total[status] = total.get(status, 0) + count
    return total


def _key(settings: Settings, tenant: str) -> str:
    return _manymodal(settings, "keys", "create", "--name", tenant, "--tenant", tenant).split()[-1]


def _manymodal(settings: Settings, *arguments: str) -> str:
    command = [
        str(Path(sys.executable).with_name("manymodal")),
        *arguments,
        "--data-dir",
        str(settings.data_dir),
    ]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


if __name__ == "__main__":
    sys.exit(main())
