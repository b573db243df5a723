"""BLIP-2-OPT-2.7B through the split pipeline on a GPU: TTFT, tokens/s, and the share of time of each stage.

The parts are those that the deployments hold (decoder process, vision tower, bridge, vLLM with prompt embeddings),
in one process, so that their own time is seen and not that of messages between replicas. Weights are random, which
changes no figure. A new picture each time: nothing comes from a cache. Where there is no GPU nothing is measured,
and that is what is written.

Run: ``make bench-gpu-fusion``. ``--small`` runs a small model on whatever device there is, to see that it runs, and
writes nothing.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import importlib.util
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from benchmarks import report
from benchmarks.checkpoints import OPT_2_7B, SMALL, write_blip2
from benchmarks.strategies import picture
from encoders.config import DecodeLimits
from encoders.decoding.sandbox import MediaDecoder
from encoders.models import blip2
from encoders.torch_device import Placement
from fusion.bridge import BranchTokens, LoadedBridge, load_bridge
from fusion.config import BridgeConfig
from serving.config import EngineConfig
from serving.services import EngineResponse, PromptEmbeddings

STAGES = ("decode", "vision", "bridge", "first token", "other tokens")
_SIDE_PIXELS = 1024  # what the vision model makes use of
_FIRST_TEXT = b'"content":"'


@dataclass(frozen=True, slots=True)
class Chat:
    """Seconds of each stage, in order, and how many tokens came."""

    seconds: tuple[float, ...]
    tokens: int

    @property
    def ttft_seconds(self) -> float:
        """From the picture's bytes to the first text."""
        return sum(self.seconds[:-1])


@dataclass(frozen=True, slots=True)
class Parts:
    """What the deployments hold."""

    decoder: MediaDecoder
    tower: Any
    bridge: LoadedBridge
    engine: Any
    name: str

    async def chat(self, seed: int, max_tokens: int) -> Chat:
        """One question about a new picture, read to the end."""
        data = picture(seed)
        marks = [time.perf_counter()]
        pixels = (await self.decoder.image(data, max_side=_SIDE_PIXELS)).pixels
        marks.append(time.perf_counter())
        (seen,) = await asyncio.to_thread(self.tower.tokens, [pixels])
        marks.append(time.perf_counter())
        (soft,) = await asyncio.to_thread(
            lambda: self.bridge.run(self.bridge.prepare([BranchTokens("vision", seen.tokens)]))
        )
        marks.append(time.perf_counter())
        first, tokens = await self._answer(PromptEmbeddings(soft[0], self.name), seed, max_tokens)
        marks += [first, time.perf_counter()]
        seconds = (after - before for before, after in pairwise(marks))
        return Chat(tuple(seconds), tokens)

    async def _answer(self, soft: PromptEmbeddings, seed: int, max_tokens: int) -> tuple[float, int]:
        """When the first text came, and how many tokens came in all."""
        content = [
            {"type": "attachment", "index": 0},
            {"type": "text", "text": f"Question {seed}: what could this be about?"},
        ]
        body = {
            "model": self.name,
            "messages": [{"role": "user", "content": content}],
            "max_tokens": max_tokens,
            "temperature": 0,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        headers = {"content-type": "application/json"}
        first, tokens, answer = None, 0, b""
        async for item in self.engine.request(
            "POST", "/v1/chat/completions", headers, json.dumps(body).encode(), (soft,)
        ):
            if isinstance(item, EngineResponse):
                if item.status != 200:
                    raise RuntimeError(f"the engine answered {item.status}")
                continue
            answer += item
            if first is None and _FIRST_TEXT in item.replace(b'"content":""', b""):
                first = time.perf_counter()
        for line in answer.splitlines():
            if b'"choices":[]' in line:
                tokens = int(json.loads(line[6:])["usage"]["completion_tokens"])
        if first is None or not tokens:
            raise RuntimeError("a stream ended without text or without usage")
        return first, tokens


def main() -> int:
    """Measure and write ``results/gpu_fusion.json``."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--chats", type=int, default=8, help="chats one after the other, a round")
    parser.add_argument("--streams", type=int, nargs="+", default=[4, 32], help="chats at once")
    parser.add_argument("--max-tokens", type=int, default=128)
    parser.add_argument("--small", action="store_true")
    options = parser.parse_args()
    import torch

    on_gpu = torch.cuda.is_available()
    reason = None
    if not options.small:
        if not on_gpu:
            reason = "no GPU at hand (torch sees no CUDA device)"
        elif importlib.util.find_spec("vllm") is None:
            reason = "vLLM is not installed"
    if reason is not None:
        print(f"skipped: {reason}")
        report.write("gpu_fusion", {"status": "skipped", "reason": reason})
        return 0
    with (
        tempfile.TemporaryDirectory(prefix="manymodal-bench-") as folder,
        _parts(Path(folder) / "bench-blip2", options.small, on_gpu) as parts,
    ):
        result = asyncio.run(_measure(parts, options))
    result["model"] = "small" if options.small else "BLIP-2-OPT-2.7B"
    result["device"] = torch.cuda.get_device_name() if on_gpu else "cpu"
    print(json.dumps(result, indent=2))
    if not options.small:
        print(f"Written to {report.write('gpu_fusion', result)}")
    return 0


@contextlib.contextmanager
def _parts(folder: Path, small: bool, on_gpu: bool) -> Iterator[Parts]:
    """Written, loaded and warm; the engine last, with the memory that is left."""
    import torch

    device, dtype = ("cuda", "bfloat16") if on_gpu else ("cpu", "float32")
    write_blip2(folder, SMALL if small else OPT_2_7B, dtype, device)
    if on_gpu:
        torch.cuda.empty_cache()
    tower = blip2.build(folder, Placement(device, dtype))
    tower.warm_up()
    bridge = load_bridge(BridgeConfig(folder, folder.name, device))
    if not on_gpu:
        os.environ.update(VLLM_CPU_KVCACHE_SPACE="1", VLLM_ENABLE_V1_MULTIPROCESSING="0")
    os.environ.update(VLLM_NO_USAGE_STATS="1", VLLM_LOGGING_LEVEL="WARNING", HF_HUB_OFFLINE="1")
    from serving.engines.vllm import VllmEngine

    engine = VllmEngine(
        EngineConfig(
            model_path=folder / blip2.DECODER_FOLDER,
            served_model_name=folder.name,
            context_tokens=2048,
            max_streams=64,
            dtype=dtype,
            enforce_eager=not on_gpu,
            soft_tokens_as="prompt_embeds",
            extra_arguments=("--gpu-memory-utilization", "0.6") if on_gpu else (),
        )
    )
    decoder = MediaDecoder(DecodeLimits(), workers=4)
    decoder.start()
    try:
        yield Parts(decoder, tower, bridge, engine, folder.name)
    finally:
        decoder.close()


async def _measure(parts: Parts, options: argparse.Namespace) -> dict[str, Any]:
    """Rounds of chats one by one and of many at once."""
    seeds = iter(range(1, 1 << 30))
    await asyncio.gather(*(parts.chat(next(seeds), 8) for _ in range(2)))
    single: list[list[Chat]] = []
    crowds: dict[int, list[float]] = {streams: [] for streams in options.streams}
    waits: dict[int, list[float]] = {streams: [] for streams in options.streams}
    for _ in range(options.rounds):
        single.append([await parts.chat(next(seeds), options.max_tokens) for _ in range(options.chats)])
        for streams in options.streams:
            started = time.perf_counter()
            chats = await asyncio.gather(
                *(parts.chat(next(seeds), options.max_tokens) for _ in range(streams))
            )
            seconds = time.perf_counter() - started
            crowds[streams].append(sum(chat.tokens for chat in chats) / seconds)
            waits[streams].append(statistics.median(chat.ttft_seconds for chat in chats))
    chats = [chat for one in single for chat in one]
    whole = sum(sum(chat.seconds) for chat in chats)
    stage_sums = [sum(chat.seconds[stage] for chat in chats) for stage in range(len(STAGES))]
    until_first = sum(stage_sums[:-1])
    return {
        "status": "measured",
        "settings": {"rounds": options.rounds, "chats": options.chats, "max_tokens": options.max_tokens},
        "one_chat": {
            "ttft_seconds": report.summary(
                [statistics.median(chat.ttft_seconds for chat in one) for one in single]
            ),
            "tokens_per_second": report.summary(
                [sum(chat.tokens for chat in one) / sum(sum(chat.seconds) for chat in one) for one in single]
            ),
            "share_of_time": {
                name: round(part / whole, 4) for name, part in zip(STAGES, stage_sums, strict=True)
            },
            "share_of_ttft": {
                name: round(part / until_first, 4)
                for name, part in zip(STAGES[:-1], stage_sums[:-1], strict=True)
            },
        },
        "at_once": {
            str(streams): {
                "tokens_per_second": report.summary(crowds[streams]),
                "ttft_seconds": report.summary(waits[streams]),
            }
            for streams in options.streams
        },
    }


if __name__ == "__main__":
    sys.exit(main())
