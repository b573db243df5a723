"""``vllm bench serve``, the load generator that comes with vLLM, run beside a server and read back.

It sends requests of a file at Poisson times, whether earlier ones were answered or not, and measures TTFT (until
the first chunk), TPOT, ITL, end-to-end latency and goodput (DistServe, Zhong et al. 2024: requests a second that
met all objectives). It is one process, and there already where vLLM is.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.llm_mixes import Mix, write_requests

__all__ = ["FIGURES", "LoadFailed", "figures", "offered_load"]

_LIMIT_SECONDS = 600.0
_ROOT = Path(__file__).resolve().parent.parent

FIGURES = {
    "goodput": "request_goodput",
    "requests_per_second": "request_throughput",
    "tokens_per_second": "output_throughput",
    **{
        f"{short}_p{percent}_ms": f"p{percent}_{name}_ms"
        for short, name in (("ttft", "ttft"), ("itl", "itl"), ("tpot", "tpot"), ("e2e", "e2el"))
        for percent in (50, 95, 99)
    },
}
"""Our names, and the tool's."""


class LoadFailed(RuntimeError):
    """The tool ended without a result; the message holds the end of what it said."""


def offered_load(
    base_url: str, mix: Mix, contents: list[list[dict[str, Any]]], tokenizer: Path, folder: Path, seed: int
) -> dict[str, Any]:
    """Send the requests at the mix's rate and wait for all answers; what the tool says. Raises ``LoadFailed``.

    Tokens are counted by the server; without the folder of a ``tokenizer`` the tool reports no times of tokens.
    """
    path, result = folder / "requests.jsonl", folder / "load.json"
    write_requests(path, contents)
    result.unlink(missing_ok=True)
    command = [
        *(sys.executable, "-m", "benchmarks.vllm_bench_serve"),
        *("--backend", "openai-chat", "--base-url", base_url, "--endpoint", "/v1/chat/completions"),
        *("--model", "default", "--tokenizer", str(tokenizer), "--temperature", "0"),
        *("--dataset-name", "custom_image", "--dataset-path", str(path), "--disable-shuffle", "--no-oversample"),
        *("--num-prompts", str(len(contents)), "--custom-output-len", str(mix.tokens)),
        *("--request-rate", str(mix.rate), "--seed", str(seed), "--ready-check-timeout-sec", "0"),
        *("--goodput", f"ttft:{mix.ttft_ms}", f"tpot:{mix.tpot_ms}"),
        *("--percentile-metrics", "ttft,tpot,itl,e2el", "--metric-percentiles", "50,95,99"),
        *("--save-result", "--result-dir", str(folder), "--result-filename", result.name, "--disable-tqdm"),
    ]  # fmt: skip
    quiet = {"VLLM_LOGGING_LEVEL": "ERROR", "VLLM_NO_USAGE_STATS": "1", "HF_HUB_OFFLINE": "1"}
    ended = subprocess.run(
        command,
        env={**os.environ, **quiet},
        cwd=_ROOT,
        capture_output=True,
        text=True,
        timeout=_LIMIT_SECONDS,
        check=False,
    )
    if ended.returncode or not result.exists():
        raise LoadFailed(f"vllm bench serve ended with {ended.returncode}: {ended.stderr[-2000:]}")
    found: dict[str, Any] = json.loads(result.read_text("utf-8"))
    return found


def figures(found: Mapping[str, Any]) -> dict[str, float]:
    """What we keep of a run. Raises ``LoadFailed`` when nothing was answered."""
    if not found["completed"]:
        raise LoadFailed(f"none of {found['num_prompts']} requests was answered.")
    return {ours: float(found[theirs]) for ours, theirs in FIGURES.items()}
