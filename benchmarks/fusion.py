"""Fusion on a machine without a GPU: second questions about known media, and the split pipeline against the whole.

Second question (goal: TTFT <= 1.1 times that of a text of as many prompt tokens): one platform for each strategy,
``text`` with the profile's decoder, ``qformer`` with a BLIP-2 in parts, ``native`` with the same BLIP-2 in one
piece for photos and with a LLaVA for videos (vLLM's BLIP-2 takes one picture). Requests take turns in changing
order; the words of every question are new, what stands before them is the same, so the prefix cache serves all
alike.

Throughput (goal: >= 0.9 of vLLM's own server): four chats at once, each about a new picture, 64 tokens long. The
same BLIP-2 is served in parts by the platform and in one piece by vLLM's server with the same flags; both are up,
one is paused (SIGSTOP) while the other is measured, and they take turns in going first. The goal is for equal work:
the platform does not read what is written in pictures, which vLLM does not either. With reading, as the profile has
it, and in one piece through the platform it is measured likewise.

Weights are random, and no figure depends on them. ``make bench-fusion``; exit code 1 when a goal is missed.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import contextlib
import importlib.util
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import aiohttp

from benchmarks.chat import PEER_MODULE
from benchmarks.load import stream_answer
from benchmarks.plots import bars
from benchmarks.report import ratios, summary, write
from benchmarks.servers import Server
from benchmarks.strategies import FRAMES, contenders, paused_but, picture, prepared_models, started
from benchmarks.twins import Part, ask, by_turns, question, text_twin, uploaded

TTFT_GOAL, THROUGHPUT_GOAL = 1.1, 0.9
STREAMS = 4
MEDIA = Path(__file__).resolve().parents[2] / "shared" / "data"
VIDEO = MEDIA / "video" / "intel-sample-videos" / "car-detection.mp4"


def main() -> int:
    """Measure, print, write ``results/fusion.json``; the exit code says whether the goals were met."""
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("--rounds", type=int, default=6)
    options.add_argument("--requests", type=int, default=15, help="second questions per medium and round")
    options.add_argument("--waves", type=int, default=2, help="waves of four chats per server and round")
    options.add_argument("--max-tokens", type=int, default=64)
    options.add_argument("--only", choices=("known", "throughput"), default=None)
    options.add_argument("--strategies", nargs="+", default=_measurable())
    given = options.parse_args()

    result: dict[str, Any] = {
        "goals": {"ttft_ratio_max": TTFT_GOAL, "throughput_ratio_min": THROUGHPUT_GOAL},
        "settings": {
            name: getattr(given, name.replace("-", "_"))
            for name in ("rounds", "requests", "waves", "max-tokens")
        }
        | {"streams": STREAMS, "frames": FRAMES, "peer": PEER_MODULE},
    }
    missed: list[str] = []
    with tempfile.TemporaryDirectory(prefix="manymodal-bench-") as name:
        folder = Path(name)
        models = prepared_models(folder / "models")
        if given.only != "throughput":
            result["known"] = {}
            for strategy in given.strategies:
                found = _known(strategy, folder, models, given.rounds, given.requests)
                result["known"][strategy] = found
                missed += [
                    f"{strategy}, {medium}: TTFT {one['ratio']['median']:.3f} times the text's"
                    for medium, one in found.items()
                    if one["ratio"]["median"] > TTFT_GOAL
                ]
        if given.only != "known":
            result["throughput"] = {
                one: _throughput(one, folder, models, given)
                for one in ("qformer-looking", "qformer", "native")
            }
            split = result["throughput"]["qformer-looking"]["ratio"]["median"]
            if split < THROUGHPUT_GOAL:
                missed.append(f"split pipeline: {split:.3f} of vLLM's tokens/s")
    path = write("fusion", result)
    _plot(result)
    print(f"Written to {path}")
    for sentence in missed:
        print(f"MISSED: {sentence}")
    return 1 if missed else 0


def _measurable() -> list[str]:
    """All strategies; LLaVA only where vLLM can load it."""
    if importlib.util.find_spec("torchvision") is None:
        print("native-llava is left out: vLLM loads LLaVA with torchvision only, which is not installed.")
        return ["text", "qformer", "native"]
    return ["text", "qformer", "native", "native-llava"]


def _known(name: str, folder: Path, models: Path, rounds: int, requests: int) -> dict[str, Any]:
    """TTFT of second questions about each known medium, and of its text twin."""
    media = contenders("", "")[name].media
    with started(name, folder, models, folder / f"{name}.log") as running:
        measured = asyncio.run(_second_questions(name, running.base_url, media, rounds, requests))
    found: dict[str, Any] = {}
    for medium in media:
        ratio = ratios(measured[medium], measured[f"{medium} as text"])
        found[medium] = {
            "ttft_seconds": summary(measured[medium]),
            "text_ttft_seconds": summary(measured[f"{medium} as text"]),
            "ratio": ratio,
        }
        print(
            f"{name}, {medium}: {ratio['median']:.2f} of the text's TTFT "
            f"({ratio['min']:.2f}-{ratio['max']:.2f}, goal <= {TTFT_GOAL})",
            flush=True,
        )
    return found


async def _second_questions(
    name: str, base_url: str, media: tuple[str, ...], rounds: int, requests: int
) -> dict[str, list[float]]:
    async with aiohttp.ClientSession(base_url, timeout=aiohttp.ClientTimeout(total=600)) as session:
        before: dict[str, list[Part]] = {}
        for medium in media:
            if medium == "photo":
                part = await uploaded(session, "photo.jpg", "image/jpeg", picture(0))
            else:
                part = await uploaded(session, "video.mp4", "video/mp4", VIDEO.read_bytes())
            await ask(session, [part], "warm-up")  # seen before, from here on
            before[medium] = [part]
            before[f"{medium} as text"] = [await text_twin(session, [part])]
        return await by_turns(session, before, rounds, requests, f"{name} ")


def _throughput(name: str, folder: Path, models: Path, given: argparse.Namespace) -> dict[str, Any]:
    """Tokens a second of four chats about new pictures: a platform and vLLM's server, by turns."""
    names = ("vllm", name)
    measured: dict[str, list[float]] = {one: [] for one in names}
    with contextlib.ExitStack() as stack:
        servers: dict[str, Server] = {}
        for one in names:
            with paused_but(servers, one):
                log = folder / f"throughput-{name}-{one}.log"
                peer = one == "vllm"
                running = started("native" if peer else one, folder, models, log, peer=peer)
                servers[one] = stack.enter_context(running)
                asyncio.run(_wave(servers[one].base_url, seed=-1, max_tokens=16))  # warm-up
        for number in range(given.rounds):
            for one in names if number % 2 else names[::-1]:
                with paused_but(servers, one):
                    speeds = [
                        asyncio.run(_wave(servers[one].base_url, 1000 * number + wave, given.max_tokens))
                        for wave in range(given.waves)
                    ]
                measured[one].append(statistics.median(speeds))
                print(f"round {number + 1} {one:<8} {measured[one][-1]:6.1f} tokens/s", flush=True)
    ratio = ratios(measured[name], measured["vllm"])
    print(f"{name}: {ratio['median']:.2f} of vLLM's tokens/s ({ratio['min']:.2f}-{ratio['max']:.2f})")
    return {
        "tokens_per_second": {one: summary(values) for one, values in measured.items()},
        "ratio": ratio,
    }


async def _wave(base_url: str, seed: int, max_tokens: int) -> float:
    """Tokens a second of four chats at once, from the first request to the last byte."""
    bodies = []
    for stream in range(STREAMS):
        url = f"data:image/jpeg;base64,{base64.b64encode(picture(STREAMS * seed + stream + 1)).decode()}"
        part = {"type": "image_url", "image_url": {"url": url}}
        bodies.append(question([part], f"{seed}-{stream}", max_tokens))
    async with aiohttp.ClientSession(base_url, timeout=aiohttp.ClientTimeout(total=600)) as session:
        started = time.perf_counter()
        answers = await asyncio.gather(*(stream_answer(session, body) for body in bodies))
        seconds = time.perf_counter() - started
    return sum(tokens for tokens, _ in answers) / seconds


def _plot(result: dict[str, Any]) -> None:
    def spread(figures: dict[str, float]) -> tuple[float, float, float]:
        return figures["median"], figures["min"], figures["max"]

    series = {
        f"{strategy}, {medium}": spread(one["ratio"])
        for strategy, found in result.get("known", {}).items()
        for medium, one in found.items()
    }
    if series:
        bars("fusion-known", "Second question about a known medium", "TTFT over a text's", series, TTFT_GOAL)
    if "throughput" in result:
        shares = {name: spread(one["ratio"]) for name, one in result["throughput"].items()}
        bars(
            "fusion-throughput",
            "Four chats about new pictures",
            "of vLLM's tokens/s",
            shares,
            THROUGHPUT_GOAL,
        )


if __name__ == "__main__":
    sys.exit(main())
