"""What jobs do, by kind: ``ingest`` a list, or ``reembed`` a collection."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from typing import Protocol

from search.types import StoredDocument
from serving.document_rows import without_facts
from serving.ingest.config import IngestConfig
from serving.ingest.ingester import Ingester
from serving.ingest.items import Item, Outcome
from serving.ingest.jobs import Job, JobState, JobStore
from serving.ingest.listing import items_of
from serving.ingest.progress import Progress
from serving.services import SearchIndex

__all__ = ["Checkpoint", "JobWork"]

_SCROLLED = 128


class Checkpoint(Protocol):
    """Told of items that have ended, durably, and of the last document of those all before have ended of."""

    async def __call__(self, outcomes: Sequence[Outcome], after: str | None = None) -> None:
        """Note it."""
        ...


class JobWork:
    """Does jobs; who runs them, and when, is the runner's business."""

    def __init__(self, ingester: Ingester, store: JobStore, search: SearchIndex) -> None:
        self._ingester = ingester
        self._store = store
        self._search = search

    @property
    def config(self) -> IngestConfig:
        """Settings of ingest."""
        return self._ingester.config

    async def run(self, job: Job, state: JobState, progress: Progress, checkpoint: Checkpoint) -> None:
        """Do what is left of a job. Raises ``ServiceTrouble``."""
        if job.kind == "reembed":
            await self._reembed(job, state, progress, checkpoint)
            return
        items = items_of(self._store.items(job), progress)
        await self._ingester.run(
            job.tenant, job.collection, items, job.options, checkpoint, repeated=state.attempts > 1
        )

    async def _reembed(self, job: Job, state: JobState, progress: Progress, checkpoint: Checkpoint) -> None:
        """Encode a collection's documents anew, in order of their ids, into another one; then switch the alias.

        What the source gets meanwhile is taken along if its id comes later in that order.
        """
        ids: dict[int, str] = {}

        async def items() -> AsyncIterator[Item]:
            after, number = state.after, progress.below
            while some := await self._search.scroll(job.tenant, job.source or "", after, _SCROLLED, None):
                for document in some:
                    await progress.room_for(number)
                    ids[number] = after = document.document_id
                    if not progress.has_ended(number):
                        yield _again(number, document)
                    number += 1

        async def note(outcomes: Sequence[Outcome]) -> None:
            before = progress.below
            ended = {one.number for one in outcomes}
            below = before
            while below in ended or progress.has_ended(below):
                below += 1
            last = ids.get(below - 1)
            for number in range(before, below):
                ids.pop(number, None)
            await checkpoint(outcomes, last)

        await self._search.create(job.tenant, job.collection, None)
        options = replace(job.options, on_duplicate="index", metadata={})
        await self._ingester.run(job.tenant, job.collection, items(), options, note)
        if job.alias is not None:
            await self._search.point_alias(job.tenant, job.alias, job.collection)


def _again(number: int, document: StoredDocument) -> Item:
    """A stored document as an item: its medium, or its text."""
    first = document.rows[0]
    metadata = without_facts(first.metadata)
    if first.media_id is not None:
        return Item(number, file_id=first.media_id, document_id=document.document_id, metadata=metadata)
    text = "\n\n".join(row.text for row in document.rows)
    if not text.strip():
        problem = "The document was added as vectors, and there is nothing to encode anew."
        return Item(number, document_id=document.document_id, problem=problem)
    return Item(number, text=text, document_id=document.document_id, metadata=metadata)
