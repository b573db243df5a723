"""Real vLLM engines around tiny checkpoints, and one way to ask them. Each takes about ten seconds to start."""

from __future__ import annotations

import asyncio
import json
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from serving.config import EngineConfig
from serving.engines.vllm import VllmEngine
from serving.services import Attachment, EngineResponse, Perception

__all__ = ["Answer", "ask", "attached", "engine_metric", "idle", "running_engine"]

_ENVIRONMENT = {
    "VLLM_CPU_KVCACHE_SPACE": "1",
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",  # the worker lives in the engine core, as in a replica
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_LOGGING_LEVEL": "WARNING",
    "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "http/protobuf",
    "OTEL_EXPORTER_OTLP_TRACES_TIMEOUT": "1",  # the tests' collector is gone before the last spans
    "OMP_NUM_THREADS": "2",
}


@dataclass(frozen=True, slots=True)
class Answer:
    """An engine's whole answer: status and decoded body."""

    status: int
    body: dict[str, Any]

    @property
    def tokens(self) -> list[int]:
        """Ids of the answer's tokens."""
        return list(self.body["choices"][0]["token_ids"])

    @property
    def prompt_tokens(self) -> int:
        return int(self.body["usage"]["prompt_tokens"])

    @property
    def cached_tokens(self) -> int:
        """How many tokens of the prompt came from the prefix cache."""
        return int(self.body["usage"]["prompt_tokens_details"]["cached_tokens"])

    @property
    def message(self) -> str:
        """Of an error."""
        return str(self.body["error"]["message"])


@contextmanager
def running_engine(
    model_path: Path, perception: Perception | Any = None, **settings: Any
) -> Iterator[VllmEngine]:
    """An engine named ``m`` with a context of 512 tokens, unless the settings say otherwise."""
    settings = {"context_tokens": 512, "max_streams": 8, "served_model_name": "m", **settings}
    root_level = logging.root.level
    with pytest.MonkeyPatch.context() as patch:
        for name, value in _ENVIRONMENT.items():
            patch.setenv(name, value)
        with warnings.catch_warnings():
            # Importing vLLM makes torch warn of torch's own doings.
            warnings.simplefilter("ignore", DeprecationWarning)
            engine = VllmEngine(EngineConfig(model_path=model_path, **settings), perception)
        try:
            yield engine
        finally:
            engine._llm.shutdown()
            # vLLM leaves its ZeroMQ context to the collector, which warns of it.
            engine._llm.engine_core.resources.ctx.destroy(linger=0)
            # What vLLM imports raises the root logger's level; later tests look for warnings.
            logging.root.setLevel(root_level)


def attached(index: int) -> dict[str, Any]:
    """The content part for the attachment at ``index``."""
    return {"type": "attachment", "index": index}


async def ask(
    engine: Any, content: str | list[str | dict[str, Any]], *attachments: Attachment, **fields: Any
) -> Answer:
    """One greedy chat of up to 16 tokens; texts among the parts may be bare."""
    if isinstance(content, list):
        content = [{"type": "text", "text": part} if isinstance(part, str) else part for part in content]
    asked = {
        "model": "m",
        "messages": [{"role": "user", "content": content}],
        "max_completion_tokens": 16,
        "temperature": 0,
        "return_token_ids": True,
        "cache_salt": "tenant-1",
    }
    status, body = 0, b""
    headers = {"content-type": "application/json"}
    request = engine.request(
        "POST", "/v1/chat/completions", headers, json.dumps(asked | fields).encode(), attachments
    )
    async for item in request:
        if isinstance(item, EngineResponse):
            status = item.status
        else:
            body += item
    return Answer(status, json.loads(body))


async def idle(engine: VllmEngine, within_seconds: float = 2.0) -> None:
    """Wait until vLLM's front end has no unfinished request; ``TimeoutError`` when it takes longer."""
    async with asyncio.timeout(within_seconds):
        while engine._llm.output_processor.has_unfinished_requests():  # noqa: ASYNC110 vLLM tells nobody
            await asyncio.sleep(0.02)


async def engine_metric(engine: Any, name: str) -> float:
    """The sum of a counter or gauge of vLLM's own metrics."""
    text = b""
    async for item in engine.request("GET", "/metrics", {}, b""):
        if isinstance(item, bytes):
            text += item
    lines = [line for line in text.decode().splitlines() if line.startswith((f"{name}{{", f"{name} "))]
    assert lines, f"vLLM has no metric {name}"
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines)
