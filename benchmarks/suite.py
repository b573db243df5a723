"""Every benchmark that an issue names: how it is run, how long it may take, what it needs, how it runs quickly."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

__all__ = ["SUITE", "Benchmark", "missing"]

_SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"
_MINUTES = 60


@dataclass(frozen=True, slots=True)
class Benchmark:
    """One command. ``quick`` are its arguments for a run that shows that it works and measures little.

    It writes ``results/NAME.json``. ``quick`` is ``None`` where only others' full results make sense.
    """

    name: str
    title: str
    limit_seconds: int
    quick: tuple[str, ...] | None = ()
    arguments: tuple[str, ...] = ()
    module: str = ""
    needs: tuple[Literal["root", "shared", "gpu"], ...] = ()

    @property
    def command(self) -> tuple[str, ...]:
        """What Python runs."""
        return ("-m", f"benchmarks.{self.module or self.name}", *self.arguments)


SUITE = (
    Benchmark("start", "seconds to ready, and memory", 15 * _MINUTES, ("--rounds", "1")),
    Benchmark("chat", "chat beside vLLM's own server", 40 * _MINUTES, ("--rounds", "1", "--max-tokens", "32")),
    Benchmark("llm", "open-loop load by vLLM's bench tool, beside vLLM's own server", 90 * _MINUTES, ("--quick",)),
    Benchmark("media", "media on S3 beside plain boto3", 30 * _MINUTES, ("--rounds", "1")),
    Benchmark("cache", "cache hits in memory and Valkey", 10 * _MINUTES, ("--rounds", "1", "--lookups", "200")),
    Benchmark("repeated", "a photo seen before beside plain text", 20 * _MINUTES,
              ("--rounds", "1", "--requests", "2"), needs=("shared",)),
    Benchmark("text", "text embeddings beside sentence-transformers and infinity-emb", 60 * _MINUTES,
              ("--rounds", "1", "--singles", "10")),
    Benchmark("batching", "the micro-batcher beside a bare loop", 20 * _MINUTES,
              ("--rounds", "1", "--texts", "64", "--lone-calls", "5")),
    Benchmark("ingest", "JPEG bytes to vectors beside a bare loop", 20 * _MINUTES, ("1",), needs=("shared",)),
    Benchmark("retrieval", "recall of sentences by photos and back", 20 * _MINUTES, (), needs=("shared",)),
    Benchmark("speech", "Whisper beside faster-whisper and openai-whisper", 45 * _MINUTES,
              ("--rounds", "1", "--minutes", "1"), needs=("shared",)),
    Benchmark("video", "video to vectors beside an OpenCV loop", 30 * _MINUTES, ("--rounds", "1"),
              needs=("shared",)),
    Benchmark("ocr", "reading beside RapidOCR", 40 * _MINUTES, ("--rounds", "1"), needs=("shared",)),
    Benchmark("search_scale", "a million vectors beside FAISS, hnswlib, usearch and LanceDB", 120 * _MINUTES,
              ("--rows", "20000", "--queries", "50", "--rounds", "1")),
    Benchmark("search_http_ray", "search over HTTP through the whole platform", 20 * _MINUTES,
              ("--rounds", "1", "--queries", "20", "--documents", "2"), ("--ray",), "search_http"),
    Benchmark("search_http", "search over HTTP without Ray", 20 * _MINUTES,
              ("--rounds", "1", "--queries", "20", "--documents", "2")),
    Benchmark("bulk_ingest", "bulk ingest beside a bare loop", 30 * _MINUTES, ("1", "100"), needs=("shared",)),
    Benchmark("fusion", "known media, and BLIP-2 in parts beside vLLM's own server", 90 * _MINUTES,
              ("--rounds", "1", "--requests", "2", "--only", "known", "--strategies", "text"), needs=("shared",)),
    Benchmark("noisy_tenant", "one tenant's TTFT beside a noisy one", 30 * _MINUTES,
              ("--rounds", "1", "--seconds", "10")),
    Benchmark("simulation", "the simulator beside real runs", 30 * _MINUTES, ("--rounds", "1", "--seconds", "10")),
    Benchmark("autoscaling", "replicas under a changing load", 20 * _MINUTES, ("--seconds", "10")),
    Benchmark("spike", "five times the peak", 15 * _MINUTES, ("--seconds", "8")),
    Benchmark("rolling_update", "a new version under long streams", 20 * _MINUTES,
              ("--streams", "10", "--tokens", "160")),
    Benchmark("scale_out", "one to four gateways and encoders", 25 * _MINUTES, ("--rounds", "1", "--seconds", "8")),
    Benchmark("node_drain", "a stream on a machine that is drained", 10 * _MINUTES),
    Benchmark("chaos", "kill -9 of everything under load", 100 * _MINUTES,
              ("--parts", "replicas", "--kills", "2"), needs=("root",)),
    Benchmark("partitions", "machines cut off under load", 45 * _MINUTES,
              ("--parts", "cache", "--seconds", "10"), needs=("root",)),
    Benchmark("availability", "what bench-chaos has measured against 99.95 %", 2 * _MINUTES, None),
    Benchmark("planning", "what the planner predicts beside what is measured", 40 * _MINUTES,
              ("--rows", "20000", "--queries", "50")),
    Benchmark("gpu_vision", "ViT-L/14 on a GPU", 20 * _MINUTES, ("--rounds", "1"), needs=("gpu",)),
    Benchmark("gpu_fusion", "BLIP-2-OPT-2.7B in parts on a GPU", 30 * _MINUTES, ("--rounds", "1"), needs=("gpu",)),
)  # fmt: skip
"""In the order they run: what the platform is first, what reads others' results last."""


def missing(benchmark: Benchmark) -> str:
    """Why it cannot run on this machine; empty when it can. GPU benchmarks say so themselves."""
    if "root" in benchmark.needs and os.geteuid() != 0:
        return "needs root, for networks of its own"
    if "shared" in benchmark.needs and not _SHARED.is_dir():
        return "needs the media in ../shared/data, which are no part of the project"
    return ""
