"""A gateway in a process of its own, to be killed: it runs a folder's ingest jobs and batches until none is left.

``python gateway_process.py FOLDER LOG``: every text that is encoded is a line of LOG.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from fake_platform import Platform, build_platform
from served_models import served_models

from encoders.types import Embeddings
from serving.batches.config import BatchConfig
from serving.config import ChatModel, GatewayConfig
from serving.ingest.config import IngestConfig

__all__ = ["BATCHES", "INGEST", "killed_again_and_again", "platform_of"]

INGEST = IngestConfig(
    group_items=4,
    commit_rows=8,
    commit_wait_seconds=0.05,
    lease_seconds=0.5,
    poll_seconds=0.1,
    queued_items=8,
)
BATCHES = BatchConfig(
    checkpoint_seconds=0.05,
    checkpoint_answers=8,
    lease_seconds=0.5,
    poll_seconds=0.1,
    requests_at_once=4,
    workers=4,
)


def platform_of(folder: Path) -> Platform:
    """The platform over a folder."""
    chat = ChatModel("m", 2048, None)
    config = GatewayConfig(chat, *served_models(), cache_secret=bytes(16), ingest=INGEST, batches=BATCHES)
    return build_platform(folder, config)


def killed_again_and_again(
    folder: Path, log: Path, kills: int, progress: Callable[[], int], total: int
) -> Iterator[None]:
    """Start the process and kill it when ``progress`` has come on by its share of ``total``; ``kills`` times, then
    let it end, which it must do well. Yields after each end.
    """
    tests = Path(__file__).parent
    environment = {**os.environ, "PYTHONPATH": f"{tests.parent}:{tests}"}
    for attempt in range(kills + 1):
        process = subprocess.Popen([sys.executable, __file__, str(folder), str(log)], env=environment)
        try:
            if attempt < kills:
                enough = progress() + total // (kills + 2)
                deadline = time.monotonic() + 60
                while progress() < enough and time.monotonic() < deadline:
                    time.sleep(0.005)
                process.send_signal(signal.SIGKILL)
            process.wait(100)
        finally:
            process.kill()
            process.wait()
        yield
    assert process.returncode == 0


async def main(folder: Path, log: Path) -> None:
    """Run what there is until nothing is pending."""
    platform = platform_of(folder)
    embed = platform.perception.embed_texts
    descriptor = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

    async def noted(texts: tuple[str, ...]) -> Embeddings:
        os.write(descriptor, "".join(f"{text}\n" for text in texts).encode())
        await asyncio.sleep(0.01)
        return await embed(texts)

    platform.perception.embed_texts = noted  # type: ignore[method-assign, assignment]  # this platform has one text model
    ingest, batches = platform.gateway.ingest, platform.gateway.batches
    while [*ingest.store.pending(), *batches.store.unfinished()]:
        for runner in (ingest.runner, batches.runner):
            await runner.look()
            await runner.idle()
        await asyncio.sleep(0.05)


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), Path(sys.argv[2])))
