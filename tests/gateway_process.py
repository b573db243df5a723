"""A gateway in a process of its own, to be killed: it runs a folder's ingest jobs and batches until none is left.

``python gateway_process.py FOLDER LOG``: every text that is encoded is a line of LOG.
"""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

from fake_platform import Platform, build_platform
from served_models import served_models

from encoders.types import Embeddings
from serving.batches.config import BatchConfig
from serving.config import ChatModel, GatewayConfig
from serving.ingest.config import IngestConfig

__all__ = ["BATCHES", "INGEST", "platform_of"]

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


async def main(folder: Path, log: Path) -> None:
    """Run what there is until nothing is pending."""
    platform = platform_of(folder)
    embed = platform.perception.embed_texts
    descriptor = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

    async def noted(texts: tuple[str, ...]) -> Embeddings:
        os.write(descriptor, "".join(f"{text}\n" for text in texts).encode())
        await asyncio.sleep(0.01)
        return await embed(texts)

    platform.perception.embed_texts = noted  # type: ignore[method-assign]
    ingest, batches = platform.gateway.ingest, platform.gateway.batches
    while [*ingest.store.pending(), *batches.store.unfinished()]:
        for runner in (ingest.runner, batches.runner):
            await runner.look()
            await runner.idle()
        await asyncio.sleep(0.05)


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), Path(sys.argv[2])))
