"""The last stage: records of new media, then the rows of many documents in one commit."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace

from search.types import Row
from serving.concurrency import all_of, to_the_end
from serving.errors import answer_for
from serving.ingest.config import IngestConfig
from serving.ingest.encoding import Encoded
from serving.ingest.failures import failed
from serving.ingest.items import Outcome
from serving.ingest.retries import Retries, ServiceTrouble
from serving.services import SearchIndex
from storage.errors import MediaNotFound
from storage.media import MediaStore
from storage.media_batches import commit_all
from storage.types import INLINE, MediaRef

__all__ = ["Writing"]

_THREADS = 4


class Writing:
    """Writes the documents of one job into its collection. Use from one event loop."""

    def __init__(
        self, media: MediaStore, search: SearchIndex, config: IngestConfig, tenant: str, collection: str
    ) -> None:
        self._media = media
        self._search = search
        self._retries = Retries(config)
        self._tenant = tenant
        self._collection = collection

    async def write(self, batch: Sequence[Encoded]) -> list[Outcome]:
        """Write documents durably. Of two with one id in a batch the later one stays.

        Not cut short by cancellation: rows of a medium that was deleted meanwhile must go again.
        """
        return await to_the_end(self._write(batch))

    async def _write(self, batch: Sequence[Encoded]) -> list[Outcome]:
        last = {one.stored.item.document: one for one in batch}
        replaced = [one for one in batch if last[one.stored.item.document] is not one]
        outcomes = [
            one.stored.item.ended("skipped", "replaced", "A later item has the same document id.")
            for one in replaced
        ]
        await asyncio.to_thread(self._abandon, replaced)
        recorded, refused = await self._recorded(list(last.values()))
        try:
            added, failures = await self._added(recorded)
        except ServiceTrouble:
            # Some rows may have been written for all that; what stays away need not be search.
            with suppress(Exception):
                await self._gone(recorded)
            raise
        gone = await self._gone([one for one, _ in added])
        for one, version in added:
            item = one.stored.item
            if item.document in gone:
                outcomes.append(item.ended("failed", "media_not_found", "The medium was deleted meanwhile."))
                continue
            done = replace(
                item.ended("indexed"), parts=len(one.rows), media_id=None if one.ref is None else one.ref.id
            )
            outcomes.append(done.written(version))
        return outcomes + refused + failures

    async def _recorded(self, batch: list[Encoded]) -> tuple[list[Encoded], list[Outcome]]:
        """Give new media their records."""
        new = [one for one in batch if one.ref is not None and one.stored.record is None]
        results = await all_of(asyncio.to_thread(self._commit, new[at::_THREADS]) for at in range(_THREADS))
        refused = {outcome.number: outcome for some in results for outcome in some}
        kept = [one for one in batch if one.stored.item.number not in refused]
        return kept, list(refused.values())

    def _commit(self, batch: list[Encoded]) -> list[Outcome]:
        media = [(one.ref, one.stored.filename) for one in batch if one.ref is not None]
        try:
            commit_all(self._media, media)
        except Exception as error:
            for ref, _ in media:
                self._media.abandon(ref)
            return [failed(one.stored.item, error) for one in batch]
        return []

    async def _added(self, batch: list[Encoded]) -> tuple[list[tuple[Encoded, int]], list[Outcome]]:
        """Documents with the version they are in. When the rows of one are refused the others are written."""
        if not batch:
            return [], []
        rows = tuple(row for one in batch for row in one.rows)
        try:
            version = await self._retries.run(lambda: self._add(rows))
        except Exception as error:
            answer = answer_for(error)
            if answer is None or answer.status >= 500:  # not of the rows' making
                raise ServiceTrouble(getattr(error, "message", "Search failed; the log says why.")) from error
            if len(batch) == 1:
                await asyncio.to_thread(self._abandon, batch)
                return [], [failed(batch[0].stored.item, error)]
            half = len(batch) // 2
            first, second = await self._added(batch[:half]), await self._added(batch[half:])
            return first[0] + second[0], first[1] + second[1]
        return [(one, version) for one in batch], []

    async def _add(self, rows: tuple[Row, ...]) -> int:
        return await self._search.add(self._tenant, self._collection, rows)

    def _abandon(self, batch: Sequence[Encoded]) -> None:
        for one in batch:
            if one.ref is not None and one.stored.record is None:
                self._media.abandon(one.ref)

    async def _gone(self, batch: list[Encoded]) -> set[str]:
        """Documents whose medium was deleted meanwhile, and that are removed again (see ``serving.indexing``).

        New media, too: from their record on they are listed, and may be deleted before their rows are written.
        """
        results = await all_of(
            asyncio.to_thread(self._missing, batch[at::_THREADS]) for at in range(_THREADS)
        )
        gone = {document: ref for some in results for document, ref in some.items()}
        if gone:
            media_ids = tuple(ref.id for ref in gone.values())
            await self._retries.run(lambda: self._delete_media(media_ids))
        return set(gone)

    async def _delete_media(self, media_ids: tuple[str, ...]) -> int:
        return await self._search.delete_media(self._tenant, media_ids)

    def _missing(self, batch: list[Encoded]) -> dict[str, MediaRef]:
        gone: dict[str, MediaRef] = {}
        for one in batch:
            record, ref = one.stored.record, one.ref
            if ref is None:
                continue
            present = False
            with suppress(MediaNotFound):
                if record is not None and record.purpose == INLINE:
                    self._media.extend(record, None)  # it stays from now on
                else:
                    self._media.get(self._tenant, ref.id)
                present = True
            if not present:
                gone[one.stored.item.document] = ref
        return gone
