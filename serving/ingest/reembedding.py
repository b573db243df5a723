"""Encoding a collection's documents anew into another one, while the first serves, and then switching an alias."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace

from search.types import StoredDocument
from serving.document_rows import without_facts, written_text
from serving.ingest.checkpoint import Checkpoint
from serving.ingest.ingester import Ingester
from serving.ingest.items import Item, Outcome
from serving.ingest.jobs import Job
from serving.ingest.progress import Progress
from serving.services import SearchIndex

__all__ = ["Reembedding"]

_SCROLLED = 128
_ROUNDS = 8  # of catching up before the switch; what comes faster than that is taken along after it
_ALIAS_SECONDS = 1.5  # until no process takes the alias for the old collection any more
# A document may have changed between being read and being written anew. A run before this one read it at most so
# long before it wrote it.
_READ_BEFORE_SECONDS = 900.0


class Reembedding:
    """One run of a job. Goes through the source in order of ids, remembering its place, then takes along what was
    added, changed and deleted meanwhile until nothing is left, switches the alias, and does so once more.

    Documents of the target that were there before the job stay, unless the source has their id.
    """

    def __init__(
        self, job: Job, ingester: Ingester, search: SearchIndex, progress: Progress, checkpoint: Checkpoint
    ) -> None:
        self._job = job
        self._ingester = ingester
        self._search = search
        self._progress = progress
        self._checkpoint = checkpoint
        self._options = replace(job.options, on_duplicate="index", metadata={})
        self._seen: dict[
            str, float
        ] = {}  # documents of the source as they were read: when they had been added

    async def run(self, after: str | None) -> None:
        """Do what is left from the document after ``after`` on. Raises ``ServiceTrouble``."""
        job = self._job
        await self._search.create(job.tenant, job.collection, None)
        await self._in_order(after)
        for _ in range(_ROUNDS):
            if not await self._catch_up(None):
                break
        if job.alias is not None:
            # What is written through the alias from now on is the target's own. Its times are the search
            # deployment's, so a document of the target is asked for the time, not this machine's clock.
            newest = max((await self._times(job.collection)).values(), default=0.0)
            await self._search.point_alias(job.tenant, job.alias, job.collection)
            await asyncio.sleep(_ALIAS_SECONDS)
            await self._catch_up(newest)

    async def _in_order(self, after: str | None) -> None:
        ids: dict[int, str] = {}

        async def items() -> AsyncIterator[Item]:
            number = self._progress.below
            async for document in self._scroll(self._job.source or "", after):
                await self._progress.room_for(number)
                ids[number] = document.document_id
                self._seen[document.document_id] = document.created_at_seconds
                if not self._progress.has_ended(number):
                    yield _again(number, document)
                number += 1

        async def note(outcomes: Sequence[Outcome]) -> None:
            before = self._progress.below
            ended = {one.number for one in outcomes}
            below = before
            while below in ended or self._progress.has_ended(below):
                below += 1
            last = ids.get(below - 1)
            for number in range(before, below):
                ids.pop(number, None)
            await self._checkpoint(outcomes, last)

        await self._ingester.run(self._job.tenant, self._job.collection, items(), self._options, note)

    async def _catch_up(self, switched_after: float | None) -> bool:
        """Bring the target to what the source is now; whether there was anything to do.

        ``switched_after``: the alias means the target already, and what is newer there than this is left alone.
        """
        job = self._job
        there = await self._times(job.collection)
        here: set[str] = set()
        behind = 0

        async def items() -> AsyncIterator[Item]:
            nonlocal behind
            number = self._progress.below
            async for document in self._scroll(job.source or "", None):
                here.add(document.document_id)
                is_behind = self._is_behind(document, there.get(document.document_id), switched_after)
                self._seen[document.document_id] = document.created_at_seconds
                if is_behind:
                    behind += 1
                    await self._progress.room_for(number)
                    yield _again(number, document)
                    number += 1

        await self._ingester.run(job.tenant, job.collection, items(), self._options, self._note_only)
        gone = [
            document_id
            for document_id, written in there.items()
            if document_id not in here
            and (document_id in self._seen or written >= job.created_at_seconds)
            and (switched_after is None or written <= switched_after)
        ]
        for document_id in gone:
            await self._search.delete(job.tenant, job.collection, document_id)
            self._seen.pop(document_id, None)
        return bool(behind or gone)

    def _is_behind(
        self, document: StoredDocument, written: float | None, switched_after: float | None
    ) -> bool:
        if switched_after is not None and written is not None and written > switched_after:
            return False
        read = self._seen.get(document.document_id)
        if read is not None:
            return read != document.created_at_seconds
        return written is None or document.created_at_seconds >= written - _READ_BEFORE_SECONDS

    async def _note_only(self, outcomes: Sequence[Outcome]) -> None:
        await self._checkpoint(outcomes)

    async def _times(self, collection: str) -> dict[str, float]:
        """When each document of a collection was added."""
        return {
            document.document_id: document.created_at_seconds
            async for document in self._scroll(collection, None)
        }

    async def _scroll(self, collection: str, after: str | None) -> AsyncIterator[StoredDocument]:
        while some := await self._search.scroll(self._job.tenant, collection, after, _SCROLLED, None):
            for document in some:
                yield document
            after = some[-1].document_id


def _again(number: int, document: StoredDocument) -> Item:
    """A stored document as an item: its medium, with the text that was written to it, or its text."""
    first = document.rows[0]
    metadata = without_facts(first.metadata)
    if first.media_id is not None:
        return Item(
            number,
            file_id=first.media_id,
            document_id=document.document_id,
            metadata=metadata,
            written=written_text(first.text, first.metadata),
        )
    text = "\n\n".join(row.text for row in document.rows)
    if not text.strip():
        problem = "The document was added as vectors, and there is nothing to encode anew."
        return Item(number, document_id=document.document_id, problem=problem)
    return Item(number, text=text, document_id=document.document_id, metadata=metadata)
