"""Chat through the platform against vLLM's own server: tokens/s and TTFT at 1 and 16 streams.

Same engine flags, same environment, same prompts. Both servers are up, one is stopped (SIGSTOP) while the other
is measured, and they take turns in going first.
Goals: >= 0.95 of the peer's tokens/s at 1 stream, >= 0.90 at 16, TTFT <= 1.2 times. Exit code 1 when the median
of the rounds misses a goal. ``make bench-chat`` runs it.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.load import Wave, run_wave
from benchmarks.report import ratios, summary, write
from benchmarks.servers import Server, module, server
from deploy.ports import free_port
from deploy.ray_environment import engine_environment
from deploy.settings import Settings, load_settings

LEVELS = {1: 2, 16: 1}  # concurrent streams -> waves per round
THROUGHPUT_GOALS = {1: 0.95, 16: 0.90}
TTFT_GOAL = 1.2
PEER_MODULE = "vllm.entrypoints.launchers.api_server.entry"

Rounds = dict[int, list[list[Wave]]]
_ORDER = (("vllm", "platform"), ("platform", "vllm"))  # which is measured, which is paused


def main() -> int:
    """Measure, print, write ``results/chat.json``; the exit code says whether the goals were met."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--rounds", type=int, default=6)
    options.add_argument("--max-tokens", type=int, default=128)
    options.add_argument("--profile", default="laptop")
    given = options.parse_args()

    measured: dict[str, Rounds] = {name: {} for name in ("vllm", "platform")}
    with tempfile.TemporaryDirectory(prefix="manymodal-bench-") as folder, contextlib.ExitStack() as stack:
        servers: dict[str, Server] = {}
        for name in measured:
            with contextlib.ExitStack() as quiet:
                for running in servers.values():
                    quiet.enter_context(running.paused())
                servers[name] = stack.enter_context(_start(name, given.profile, Path(folder)))
                model = load_settings({"profile": given.profile}).chat.model
                asyncio.run(run_wave(servers[name].base_url, model, max(LEVELS), 16, seed=-1))  # warm-up
        for number in range(given.rounds):
            for name, other in _ORDER if number % 2 else _ORDER[::-1]:
                with servers[other].paused():
                    waves = asyncio.run(_waves(servers[name].base_url, model, number, given.max_tokens))
                for streams, level in waves.items():
                    measured[name].setdefault(streams, []).append(level)
                    speed = statistics.median(wave.tokens_per_second for wave in level)
                    print(
                        f"round {number + 1} {name:<8} {streams:>2} streams: {speed:6.1f} tokens/s",
                        flush=True,
                    )
        starts = {name: round(running.start_seconds, 1) for name, running in servers.items()}

    result, missed = _compare(measured)
    result["start_seconds"] = starts
    result["settings"] = {"max_tokens": given.max_tokens, "profile": given.profile, "peer": PEER_MODULE}
    path = write("chat", result)
    print(f"Written to {path}")
    for sentence in missed:
        print(f"MISSED: {sentence}")
    return 1 if missed else 0


def _start(name: str, profile: str, folder: Path) -> contextlib.AbstractContextManager[Server]:
    settings = load_settings({"profile": profile, "port": free_port(), "data_dir": folder / "data"})
    command, ready_path, environment = _server(name, settings)
    base_url = f"http://127.0.0.1:{settings.port}"
    return server(command, base_url, ready_path, folder / f"{name}.log", environment)


def _server(name: str, settings: Settings) -> tuple[list[str], str, dict[str, str]]:
    if name == "platform":
        return platform_command(settings), "/ready", {}
    flags = [*settings.engine_config().arguments(), "--host", "127.0.0.1", "--port", str(settings.port)]
    return module(PEER_MODULE, *flags), "/health", {**engine_environment(settings), "HF_HUB_OFFLINE": "1"}


def platform_command(settings: Settings) -> list[str]:
    """The command a user starts the platform with."""
    options = ("--port", str(settings.port), "--profile", settings.profile)
    return [
        str(Path(sys.executable).with_name("manymodal")),
        "serve",
        *options,
        "--data-dir",
        str(settings.data_dir),
    ]


async def _waves(base_url: str, model: str, number: int, max_tokens: int) -> dict[int, list[Wave]]:
    waves: dict[int, list[Wave]] = {}
    for streams, repeats in LEVELS.items():
        seeds = (1000 * number + 100 * streams + repeat for repeat in range(repeats))
        waves[streams] = [await run_wave(base_url, model, streams, max_tokens, seed) for seed in seeds]
    return waves


def _compare(measured: dict[str, Rounds]) -> tuple[dict[str, Any], list[str]]:
    levels: dict[str, Any] = {}
    missed: list[str] = []
    for streams in LEVELS:
        speeds = {
            n: [statistics.median(w.tokens_per_second for w in r) for r in measured[n][streams]]
            for n in measured
        }
        waits = {
            n: [statistics.median(t for w in r for t in w.ttft_seconds) for r in measured[n][streams]]
            for n in measured
        }
        throughput = ratios(speeds["platform"], speeds["vllm"])
        ttft = ratios(waits["platform"], waits["vllm"])
        levels[str(streams)] = {
            "tokens_per_second": {name: summary(values) for name, values in speeds.items()},
            "ttft_seconds": {name: summary(values) for name, values in waits.items()},
            "throughput_ratio": throughput,
            "ttft_ratio": ttft,
            "goals": {"throughput_ratio_min": THROUGHPUT_GOALS[streams], "ttft_ratio_max": TTFT_GOAL},
        }
        print(
            f"{streams:>2} streams: {throughput['median']:.2f} of vLLM's tokens/s "
            f"({throughput['min']:.2f}-{throughput['max']:.2f}, goal >= {THROUGHPUT_GOALS[streams]}), "
            f"TTFT {ttft['median']:.2f} times ({ttft['min']:.2f}-{ttft['max']:.2f}, goal <= {TTFT_GOAL})"
        )
        if throughput["median"] < THROUGHPUT_GOALS[streams]:
            missed.append(f"{streams} streams: {throughput['median']:.3f} of vLLM's tokens/s")
        if ttft["median"] > TTFT_GOAL:
            missed.append(f"{streams} streams: TTFT {ttft['median']:.2f} times vLLM's")
    return {"levels": levels}, missed


if __name__ == "__main__":
    sys.exit(main())
