"""The first two stages: bringing an item's bytes here, then storing them, unless they are here already.

A fetched medium gets its record only when its rows are about to be written (``writing``): what fails or is skipped
before leaves no trace, and what a crash leaves without record is collected as garbage.
"""

from __future__ import annotations

import asyncio
import codecs
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO, cast

from cachetools import LRUCache

from encoders.decoding.sniff import SNIFF_BYTES, sniff
from search.errors import CollectionNotFound
from serving.config import RequestLimits
from serving.document_rows import own_metadata
from serving.errors import InvalidRequest, LimitExceeded, QuotaExceeded
from serving.fetch import MediaFetcher
from serving.file_types import is_text
from serving.ingest.config import IngestConfig
from serving.ingest.failures import failed
from serving.ingest.items import IngestOptions, Item, Outcome
from serving.ingest.retries import Retries, ServiceTrouble
from serving.limits.stored import StoredBytes
from serving.refusals import too_large
from serving.services import SearchIndex
from serving.spooling import file_bytes, fill, open_spool
from storage.errors import StorageError
from storage.media import MediaStore
from storage.media_batches import receive_all
from storage.types import INLINE, MediaRecord, MediaRef, modality_of

__all__ = ["Arrivals", "Brought", "Stored"]

_MEMORY_BYTES = 1 << 20  # of a fetched medium; many wait at a time
_REMEMBERED_CONTENTS = 100_000


@dataclass(slots=True)
class Brought:
    """An item whose bytes are at hand: a file to be closed, the record of a stored one, or its text."""

    item: Item
    file: BinaryIO | None = None
    filename: str | None = None
    record: MediaRecord | None = None
    text: str | None = None

    def close(self) -> None:
        """Let the file go."""
        if self.file is not None:
            self.file.close()


@dataclass(frozen=True, slots=True)
class Stored:
    """An item with a text, or with a stored medium. ``record`` is missing for one that has none yet."""

    item: Item
    text: str | None = None
    ref: MediaRef | None = None
    record: MediaRecord | None = None
    filename: str | None = None
    content_hash: str = ""


class Arrivals:
    """Brings and stores the items of one job into ``collection``. Use from one event loop.

    With ``repeated`` the items may have been stored before, by a run that died, and are looked for.
    """

    def __init__(
        self,
        media: MediaStore,
        search: SearchIndex,
        fetcher: MediaFetcher,
        limits: RequestLimits,
        config: IngestConfig,
        tenant: str,
        collection: str,
        options: IngestOptions,
        stored: StoredBytes,
        *,
        repeated: bool = False,
    ) -> None:
        self._media = media
        self._search = search
        self._fetcher = fetcher
        self._limits = limits
        self._retries = Retries(config)
        self._tenant = tenant
        self._collection = collection
        self._options = options
        self._bytes = stored
        self._repeated = repeated
        # The contents of this job, for those that come twice before the first is written.
        self._contents: LRUCache[str, str] = LRUCache(_REMEMBERED_CONTENTS)

    async def bring(self, item: Item) -> Brought | Outcome:
        """Fetch an item or find its file. Raises what tells of trouble with the platform's own services."""
        try:
            if item.problem is not None:
                return item.ended("failed", "invalid_entry", item.problem)
            own_metadata(item.metadata)
            return await self._retries.run(lambda: self._bring(item))
        except Exception as error:
            return failed(item, error)

    async def _bring(self, item: Item) -> Brought:
        if item.text is not None:
            if len(item.text) > self._limits.max_text_characters:
                raise self._too_long()
            return Brought(item, text=item.text)
        if item.file_id is not None:
            return await self._stored_before(item, item.file_id)
        if item.upload is not None:
            return Brought(item, filename=item.filename)  # opened where it is read
        spool = open_spool(self._media.spool_folder, _MEMORY_BYTES)
        try:
            async with self._fetcher.open(item.url or "") as fetched:
                await fill(spool, fetched.body)
        except BaseException:
            spool.close()
            raise
        return Brought(item, spool, item.filename or fetched.filename)

    async def _stored_before(self, item: Item, file_id: str) -> Brought:
        record = await asyncio.to_thread(self._media.get, self._tenant, file_id)
        if record.ref.size_bytes > self._limits.max_media_bytes:
            raise too_large(self._limits.max_media_bytes, None)
        if modality_of(record.ref.content_type) != "text":
            return Brought(item, record=record)
        if record.ref.size_bytes > 4 * self._limits.max_text_characters + len(codecs.BOM_UTF8):
            raise self._too_long()  # before all of it is in memory
        data = await asyncio.to_thread(self._media.read, record.ref)
        return Brought(item, text=self._read_text(data))

    async def store(self, group: Sequence[Brought]) -> tuple[list[Stored], list[Outcome]]:
        """Store what is new of a group, and end what is empty, no medium, or a duplicate."""
        try:
            prepared, ended = await asyncio.to_thread(self._typed, group)
            prepared, duplicates = await self._without_duplicates(prepared)
            ended += duplicates
            size_bytes = await asyncio.to_thread(_new_bytes, prepared)
            try:
                async with self._bytes.kept(self._tenant, size_bytes):
                    stored, refused = await asyncio.to_thread(self._store, prepared)
            except QuotaExceeded as error:
                raise ServiceTrouble(error.message) from error  # the next items would fare no better
            return stored, ended + refused
        finally:
            for brought in group:
                brought.close()

    async def discard(self, ended: Sequence[tuple[Stored, Outcome]]) -> None:
        """Take back what was stored of items that ended without rows. The next one of a failed item's content is
        no duplicate of it.
        """
        refs = [one.ref for one, _ in ended if one.ref is not None and one.record is None]
        for stored, outcome in ended:
            content_hash = stored.content_hash
            if outcome.status == "failed" and self._contents.get(content_hash) == stored.item.document:
                self._contents.pop(content_hash, None)
        if refs:
            await asyncio.to_thread(self._abandon, refs)
            await self._bytes.freed(self._tenant)

    # In a thread:

    def _abandon(self, refs: Sequence[MediaRef]) -> None:
        for ref in refs:
            self._media.abandon(ref)

    def _typed(self, group: Sequence[Brought]) -> tuple[list[tuple[Brought, str, str]], list[Outcome]]:
        """Each item with its content hash and content type; and those that end here."""
        typed: list[tuple[Brought, str, str]] = []
        ended: list[Outcome] = []
        for brought in group:
            try:
                if brought.file is None and brought.item.upload is not None:
                    brought.file = brought.item.upload()
                if brought.file is not None:
                    brought, content_type = self._opened(brought, brought.file)
                else:
                    content_type = brought.record.ref.content_type if brought.record else "text/plain"
                if brought.text is not None and not brought.text.strip():
                    ended.append(_empty(brought.item))
                    continue
                typed.append((brought, _content_hash(brought), content_type))
            except _Empty:
                ended.append(_empty(brought.item))
            except Exception as error:
                ended.append(failed(brought.item, error))
        return typed, ended

    def _opened(self, brought: Brought, file: BinaryIO) -> tuple[Brought, str]:
        head = file.read(SNIFF_BYTES)
        file.seek(0)
        if not head:
            raise _Empty
        if is_text(head):  # text may begin like a medium by chance
            data = file.read(4 * self._limits.max_text_characters + 1)
            return Brought(brought.item, file, brought.filename, text=self._read_text(data)), "text/plain"
        return brought, sniff(head).content_type

    def _read_text(self, data: bytes) -> str:
        try:
            text = data.decode("utf-8-sig")
        except UnicodeDecodeError:
            raise InvalidRequest(
                "The file is not UTF-8 text, nor a medium.", None, "unsupported_media"
            ) from None
        if len(text) > self._limits.max_text_characters:
            raise self._too_long()
        return text

    def _too_long(self) -> LimitExceeded:
        limit = self._limits.max_text_characters
        return LimitExceeded(f"The text is longer than {limit} characters (max_text_characters).")

    def _store(self, prepared: Sequence[tuple[Brought, str, str]]) -> tuple[list[Stored], list[Outcome]]:
        stored: list[Stored] = []
        refused: list[Outcome] = []
        new: list[tuple[Brought, str, str]] = []
        for one in prepared:
            brought, content_hash, _ = one
            record = brought.record
            if brought.text is not None:
                stored.append(Stored(brought.item, brought.text, content_hash=content_hash))
                continue
            try:
                if record is None and self._repeated:
                    record = self._media.find_by_content(self._tenant, content_hash, INLINE)
            except Exception as error:
                refused.append(failed(brought.item, error))
                continue
            if record is None:
                new.append(one)
            else:
                stored.append(_of_medium(brought, content_hash, record.ref, record))
        try:
            refs = self._received(new)
        except StorageError as error:
            if len(new) == 1:
                return stored, [*refused, failed(new[0][0].item, error)]
            for one in new:  # one of them may be to blame
                more, ended = self._store([one])
                stored += more
                refused += ended
            return stored, refused
        stored += [_of_medium(one[0], one[1], ref, None) for one, ref in zip(new, refs, strict=True)]
        return stored, refused

    def _received(self, new: Sequence[tuple[Brought, str, str]]) -> list[MediaRef]:
        streams = []
        for brought, _, content_type in new:
            if brought.file is None:
                raise AssertionError("an item without text and record has a file")
            brought.file.seek(0)
            streams.append((brought.file, content_type))
        limit = self._limits.max_media_bytes
        return receive_all(self._media, self._tenant, streams, limit)

    # In the event loop:

    async def _without_duplicates(
        self, prepared: list[tuple[Brought, str, str]]
    ) -> tuple[list[tuple[Brought, str, str]], list[Outcome]]:
        if self._options.on_duplicate == "index" or not prepared:
            return prepared, []
        hashes = tuple({content_hash for _, content_hash, _ in prepared})
        known = await self._retries.run(lambda: self._known(hashes))
        kept: list[tuple[Brought, str, str]] = []
        skipped: list[Outcome] = []
        for one in prepared:
            item, content_hash = one[0].item, one[1]
            holder = known.get(content_hash) or self._contents.get(content_hash)
            if holder is None:
                self._contents[content_hash] = item.document
                kept.append(one)
            elif holder == item.document and content_hash in known:
                skipped.append(item.ended("skipped", "unchanged", "The document is indexed already."))
            else:
                skipped.append(
                    item.ended("skipped", "duplicate", f"The document '{holder}' has the same content.")
                )
        return kept, skipped

    async def _known(self, hashes: tuple[str, ...]) -> dict[str, str]:
        try:
            return dict(await self._search.known_contents(self._tenant, self._collection, hashes))
        except CollectionNotFound:  # made by the first document
            return {}


def _of_medium(brought: Brought, content_hash: str, ref: MediaRef, record: MediaRecord | None) -> Stored:
    return Stored(brought.item, ref=ref, record=record, filename=brought.filename, content_hash=content_hash)


def _new_bytes(prepared: Sequence[tuple[Brought, str, str]]) -> int:
    files = (one.file for one, _, _ in prepared if one.text is None and one.record is None)
    return sum(file_bytes(file) for file in files if file is not None)


class _Empty(Exception):
    """A file without a byte."""


def _empty(item: Item) -> Outcome:
    return item.ended("skipped", "empty", "There is nothing in it.")


def _content_hash(brought: Brought) -> str:
    if brought.text is not None:
        return hashlib.sha256(brought.text.encode("utf-8", "surrogatepass")).hexdigest()
    if brought.record is not None:
        return brought.record.ref.sha256
    file = cast(Any, brought.file)  # every BinaryIO here has readinto
    digest = hashlib.file_digest(file, "sha256").hexdigest()
    file.seek(0)
    return digest
