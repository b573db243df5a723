"""Items through fetching, storing, encoding and writing, each with its own concurrency, bounded queues between.

A slow web server holds up no encoder, a busy encoder stops the fetching before memory fills, and the table gets
hundreds of rows a commit. The end of every item, good or bad, passes the last stage, which reports it after the
commit: what was reported is durable.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from typing import Any

from serving.concurrency import all_of
from serving.ingest.arrival import Arrivals, Brought, Stored
from serving.ingest.channel import Channel
from serving.ingest.config import IngestConfig
from serving.ingest.encoding import Encoded, Encoding
from serving.ingest.items import Item, Outcome
from serving.ingest.writing import Writing

__all__ = ["FINISHED_GROUPS", "Pipeline", "Report"]

FINISHED_GROUPS = 8
"""Groups that wait to be written: what a crash loses of encoded items, beside those of a commit."""

Report = Callable[[Sequence[Outcome]], Awaitable[None]]
"""Told what became of items, once what was written of them is durable."""


@dataclass(slots=True)
class _Finished:
    """What a stage hands to the last one."""

    encoded: list[Encoded] = field(default_factory=list)
    ended: list[Outcome] = field(default_factory=list)


class Pipeline:
    """One run of the stages. Use from one event loop."""

    def __init__(
        self, arrivals: Arrivals, encoding: Encoding, writing: Writing, config: IngestConfig
    ) -> None:
        self._arrivals = arrivals
        self._encoding = encoding
        self._writing = writing
        self._config = config
        self._items: Channel[Item] = Channel(config.fetch_concurrency)
        self._brought: Channel[Brought] = Channel(config.queued_items)
        self._stored: Channel[list[Stored]] = Channel(config.encode_concurrency)
        self._finished: Channel[_Finished] = Channel(FINISHED_GROUPS)

    async def run(self, items: AsyncIterator[Item], report: Report) -> None:
        """Ingest all items. What is wrong with one is reported and stops nothing.

        Raises ``ServiceTrouble`` when the platform's own services stay away, and what ``items`` and ``report``
        raise. When it raises or is cancelled, items that were not reported may have been written or not.
        """
        config = self._config
        try:
            await all_of(
                (
                    self._stage([self._feed(items)], self._items),
                    self._stage([self._fetch() for _ in range(config.fetch_concurrency)], self._brought),
                    self._stage([self._store() for _ in range(config.store_concurrency)], self._stored),
                    self._stage([self._encode() for _ in range(config.encode_concurrency)], self._finished),
                    self._write(report),
                )
            )
        finally:
            while not self._brought.empty:
                for brought in await self._brought.take(config.queued_items):
                    brought.close()

    @staticmethod
    async def _stage(workers: list[Coroutine[object, object, None]], following: Channel[Any]) -> None:
        """Run a stage's workers, and close what they fill."""
        await all_of(workers)
        await following.close()

    async def _feed(self, items: AsyncIterator[Item]) -> None:
        async for item in items:
            await self._items.put(item)

    async def _fetch(self) -> None:
        while some := await self._items.take():
            brought = await self._arrivals.bring(some[0])
            if isinstance(brought, Outcome):
                await self._finished.put(_Finished(ended=[brought]))
                continue
            try:
                await self._brought.put(brought)
            except BaseException:
                brought.close()
                raise

    async def _store(self) -> None:
        while group := await self._brought.take(self._config.group_items):
            stored, ended = await self._arrivals.store(group)
            if ended:
                await self._finished.put(_Finished(ended=ended))
            if stored:
                await self._stored.put(stored)

    async def _encode(self) -> None:
        while groups := await self._stored.take():
            encoded, ended = await self._encoding.encode(groups[0])
            await self._arrivals.discard(ended)
            await self._finished.put(_Finished(encoded, [outcome for _, outcome in ended]))

    async def _write(self, report: Report) -> None:
        batch = _Finished()
        due = 0.0
        rows = 0
        taking: asyncio.Task[list[_Finished]] | None = None
        try:
            while True:
                taking = taking or asyncio.create_task(self._finished.take())
                wait = max(0.0, due - time.monotonic()) if batch.encoded or batch.ended else None
                await asyncio.wait({taking}, timeout=wait)
                if taking.done():
                    some, taking = taking.result(), None
                    if not some:
                        break
                    if not (batch.encoded or batch.ended):
                        due = time.monotonic() + self._config.commit_wait_seconds
                    batch.encoded += some[0].encoded
                    batch.ended += some[0].ended
                    rows += sum(len(one.rows) for one in some[0].encoded)
                if rows >= self._config.commit_rows or time.monotonic() >= due:
                    await self._commit(batch, report)
                    batch, rows = _Finished(), 0
            await self._commit(batch, report)
        finally:
            if taking is not None:
                taking.cancel()
                await asyncio.gather(taking, return_exceptions=True)

    async def _commit(self, batch: _Finished, report: Report) -> None:
        outcomes = await self._writing.write(batch.encoded) if batch.encoded else []
        if outcomes or batch.ended:
            await report([*outcomes, *batch.ended])
