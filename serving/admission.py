"""The one safe door for media: whatever the source, bytes are typed by content, stored, and probed.

Behind this door only ``MediaRef`` travels. Nothing that was refused stays stored. Bytes that came inside
another request are kept for a while, and found again when they come again: a repeated photo writes nothing.
Fetching has turns of its own: slow web servers keep nobody waiting who brings the bytes along, and nobody else who
has media fetched.
"""

from __future__ import annotations

import asyncio
import binascii
import io
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, replace
from typing import BinaryIO, TypeVar, cast

import pybase64

from encoders.types import MediaInfo, MediaKind
from serving.concurrency import in_thread_or_undone, to_the_end, turn
from serving.config import RequestLimits
from serving.errors import InvalidRequest, ServiceUnavailable
from serving.fair_queue import FairQueue
from serving.fetch import MediaFetcher
from serving.inline_memo import InlineMemo
from serving.intake import Intake, Received
from serving.limits.stored import StoredBytes
from serving.moderation.gate import ModerationGate
from serving.moderation.uploads import look_through
from serving.perceiver import Perceiver
from serving.refusals import ANY_KIND, as_expected, in_field, naming, no_medium, too_large
from serving.spooling import file_bytes, fill, open_spool
from storage.assembly import Storage
from storage.errors import CorruptObject, MediaNotFound
from storage.types import MediaRecord, MediaRef, modality_of

__all__ = ["Admission", "AdmittedFile", "AdmittedMedia"]

Result = TypeVar("Result")

_DATA_URL = re.compile(r"data:[^,;]{0,127}(?:;[^,;]{1,127}){0,8};base64,", re.IGNORECASE)
_MAX_FETCHING = 8
_MAX_WAITING_TO_FETCH = 256
_FETCHING_KEPT_FREE = 2  # of a tenant that takes all there is, for others
_MAX_STORING = 8


@dataclass(frozen=True, slots=True)
class AdmittedFile:
    """A stored file, and what its header says if it is a medium that can be perceived."""

    record: MediaRecord
    info: MediaInfo | None


@dataclass(frozen=True, slots=True)
class AdmittedMedia(AdmittedFile):
    """A stored medium and what its header says. ``reused``: the request brought bytes that were stored."""

    info: MediaInfo
    reused: bool = False


class Admission:
    """Takes media in from references (data URL, http URL, id), base64 and files. One per gateway."""

    def __init__(
        self,
        storage: Storage,
        perceiver: Perceiver,
        fetcher: MediaFetcher,
        limits: RequestLimits,
        memo: InlineMemo,
        moderation: ModerationGate,
        stored: StoredBytes,
    ) -> None:
        self._media = storage.media
        self._intake = Intake(storage, limits, memo)
        self._perceiver = perceiver
        self._fetcher = fetcher
        self._limits = limits
        self._moderation = moderation
        self._stored = stored
        self._fetching = FairQueue(_MAX_FETCHING, _MAX_WAITING_TO_FETCH, _busy, kept_free=_FETCHING_KEPT_FREE)
        self._storing = asyncio.Semaphore(_MAX_STORING)

    async def from_reference(
        self,
        tenant: str,
        reference: str,
        expected: frozenset[MediaKind] = ANY_KIND,
        param: str | None = None,
        filename: str | None = None,
        *,
        anew: bool = False,
    ) -> AdmittedMedia:
        """A ``data:`` URL, an http(s) URL, or the id of a medium stored before.

        Brought bytes that are stored as inline media are not stored again, unless ``anew``.
        """
        scheme = reference[:8].lower()
        if scheme.startswith("data:"):
            start = _data_start(reference, param)
            return await self.from_base64(tenant, reference, expected, param, filename, start, anew=anew)
        if scheme.startswith(("http://", "https://")):
            async with self._fetched(tenant, reference, param) as (spool, name):
                return await self.from_file(tenant, spool, filename or name, expected, param, anew=anew)
        if scheme.startswith("file-"):
            return await self.from_id(tenant, reference, expected, param)
        raise InvalidRequest(
            "Media must be given as a data: URL, an http(s) URL, or the id of an uploaded file.",
            param,
            "invalid_media_reference",
        )

    async def from_id(
        self, tenant: str, media_id: str, expected: frozenset[MediaKind] = ANY_KIND, param: str | None = None
    ) -> AdmittedMedia:
        """A medium stored before. Raises ``MediaNotFound``, and ``InvalidRequest`` for a file that is none."""
        record = await asyncio.to_thread(self._media.get, tenant, media_id)
        if modality_of(record.ref.content_type) == "text":
            raise no_medium(record.ref.content_type, param)
        if record.ref.size_bytes > self._limits.max_media_bytes:
            raise too_large(self._limits.max_media_bytes, param)
        return AdmittedMedia(record, await self._probed(record.ref, expected, param))

    async def from_base64(
        self,
        tenant: str,
        data: str,
        expected: frozenset[MediaKind] = ANY_KIND,
        param: str | None = None,
        filename: str | None = None,
        start: int = 0,
        *,
        anew: bool = False,
    ) -> AdmittedMedia:
        """Base64 by RFC 4648 in ``data`` from ``start`` on, strictly: standard alphabet, padding, no spaces."""
        opened = self._base64(data, start, param)
        size_bytes = _decoded_bytes(data, start)
        return await self._inline(tenant, opened, size_bytes, filename, expected, param, anew=anew)

    async def from_file(
        self,
        tenant: str,
        file: BinaryIO,
        filename: str | None,
        expected: frozenset[MediaKind] = ANY_KIND,
        param: str | None = None,
        *,
        anew: bool = False,
    ) -> AdmittedMedia:
        """An open file at its beginning, brought for this request alone, such as sound to transcribe."""

        def opened() -> BinaryIO:
            file.seek(0)
            return file

        size_bytes = await asyncio.to_thread(file_bytes, file)
        return await self._inline(tenant, opened, size_bytes, filename, expected, param, anew=anew)

    async def file_upload(
        self,
        tenant: str,
        file: BinaryIO,
        filename: str | None,
        purpose: str = "user_data",
        lifetime_seconds: int | None = None,
        *,
        allow_other: bool = False,
        param: str | None = "file",
    ) -> AdmittedFile:
        """Keep an uploaded file, open at its beginning. Media are probed, and pictures fingerprinted.

        ``lifetime_seconds`` count from its creation. With ``allow_other`` files that are no media (text, PDF,
        anything) are kept too, and media over ``max_media_bytes``, all up to ``max_file_bytes``; nothing is known
        of them (``info`` is ``None``) and nothing perceives them. Without it the answer is an ``AdmittedMedia``.
        """
        limit = self._limits.max_file_bytes if allow_other else self._limits.max_media_bytes
        size_bytes = await asyncio.to_thread(file_bytes, file)
        async with self._turn(self._storing), self._stored.kept(tenant, size_bytes):
            received = await in_thread_or_undone(
                lambda: self._intake.receive(tenant, file, param, limit, allow_other=allow_other),
                self._intake.abandon,
            )
            async with self._taking_back(received.ref):
                return await self._keep(received, filename, purpose, lifetime_seconds, param)

    async def reference_upload(
        self, tenant: str, reference: str, filename: str | None, param: str | None = None
    ) -> AdmittedMedia:
        """Keep what a ``data:`` or an http(s) URL holds, as ``file_upload`` does; media only."""
        if reference[:5].lower() == "data:":
            opened = self._base64(reference, _data_start(reference, param), param)
            async with self._turn(self._storing):
                file = await asyncio.to_thread(opened)
            kept = await self.file_upload(tenant, file, filename, param=param)
        else:
            async with self._fetched(tenant, reference, param) as (spool, name):
                kept = await self.file_upload(tenant, spool, filename or name, param=param)
        return cast(AdmittedMedia, kept)

    async def received_upload(
        self,
        ref: MediaRef,
        filename: str | None,
        purpose: str = "user_data",
        lifetime_seconds: int | None = None,
    ) -> AdmittedFile:
        """As ``file_upload`` with ``allow_other``, for bytes of any size that ``MediaStore.receive`` has stored.

        Whatever keeps them from becoming a file, they are taken back.
        """
        async with self._taking_back(ref), self._turn(self._storing):
            received = await asyncio.to_thread(self._intake.typed, ref)
            return await self._keep(received, filename, purpose, lifetime_seconds, None)

    async def use(
        self,
        bring: Callable[[bool], Awaitable[AdmittedMedia]],
        work: Callable[[AdmittedMedia], Awaitable[Result]],
    ) -> Result:
        """``work`` on what ``bring`` (told whether to store anew) admits.

        Bytes that were found stored may turn out to be damaged, or be deleted meanwhile; who brought them
        along must not suffer from that, so they are then stored anew, once.
        """
        admitted = await bring(False)
        try:
            return await work(admitted)
        except (MediaNotFound, CorruptObject):
            if not admitted.reused:
                raise
        return await work(await bring(True))

    async def _inline(
        self,
        tenant: str,
        opened: Callable[[], BinaryIO],
        size_bytes: int,
        filename: str | None,
        expected: frozenset[MediaKind],
        param: str | None,
        *,
        anew: bool,
    ) -> AdmittedMedia:
        async with self._turn(self._storing), self._stored.kept(tenant, size_bytes):
            taken = await self._take_in(tenant, opened, expected, param, anew=anew)
            if isinstance(taken, MediaRecord):
                try:
                    info = await self._probed(taken.ref, expected, param)
                    await self._stored.freed(tenant, size_bytes)
                    return AdmittedMedia(taken, info, reused=True)
                except (MediaNotFound, CorruptObject):  # deleted since, or damaged: the bytes are at hand
                    taken = await self._take_in(tenant, opened, expected, param, anew=True)
            ref = cast(MediaRef, taken)
            async with self._taking_back(ref):
                info = await self._probed(ref, expected, param)
                typed = replace(ref, content_type=info.content_type)
                record = await self._committed(lambda: self._intake.commit_inline(typed, filename))
            return AdmittedMedia(record, info)

    async def _take_in(
        self,
        tenant: str,
        opened: Callable[[], BinaryIO],
        expected: frozenset[MediaKind],
        param: str | None,
        *,
        anew: bool,
    ) -> MediaRecord | MediaRef:
        return await in_thread_or_undone(
            lambda: self._intake.inline(tenant, opened, expected, param, anew=anew), self._intake.abandon
        )

    async def _keep(
        self,
        received: Received,
        filename: str | None,
        purpose: str,
        lifetime_seconds: int | None,
        param: str | None,
    ) -> AdmittedFile:
        ref, info, fingerprint = received.ref, None, None
        if received.is_medium and ref.size_bytes <= self._limits.max_media_bytes:
            info = await self._probed(ref, ANY_KIND, param)
            ref = replace(ref, content_type=info.content_type)
            if info.kind is MediaKind.IMAGE:
                with naming(param):
                    fingerprint = await self._perceiver.fingerprint(ref)
        guard = await self._moderation.guard(ref.tenant, "ingest")
        if guard is not None:
            await look_through(guard, self._media, ref, info, self._limits, param)
        record = await self._committed(
            lambda: self._intake.commit(ref, filename, purpose, lifetime_seconds, fingerprint)
        )
        return AdmittedFile(record, None) if info is None else AdmittedMedia(record, info)

    async def _committed(self, commit: Callable[[], MediaRecord]) -> MediaRecord:
        # Who is cancelled again and again takes back before the record is there: undone once more.
        return await in_thread_or_undone(commit, lambda record: self._media.abandon(record.ref))

    async def _probed(self, ref: MediaRef, expected: frozenset[MediaKind], param: str | None) -> MediaInfo:
        with naming(param):
            info = await self._perceiver.probe(ref)
        return as_expected(info, expected, param)

    @asynccontextmanager
    async def _taking_back(self, ref: MediaRef) -> AsyncIterator[None]:
        """Abandon a received medium when the block fails or is cancelled."""
        try:
            yield
        except BaseException:
            await to_the_end(asyncio.to_thread(self._media.abandon, ref))
            raise

    def _base64(self, data: str, start: int, param: str | None) -> Callable[[], BinaryIO]:
        limit = self._limits.max_media_bytes
        if _decoded_bytes(data, start) > limit:
            raise too_large(limit, param)
        return lambda: io.BytesIO(_decode_base64(data[start:], param))

    @asynccontextmanager
    async def _fetched(
        self, tenant: str, url: str, param: str | None
    ) -> AsyncIterator[tuple[BinaryIO, str | None]]:
        """What a web server delivers, in a file that is gone after the block, and its name."""
        with open_spool(self._media.spool_folder) as spool:
            try:
                async with asyncio.timeout(self._limits.admission_wait_seconds):
                    fetching = await self._fetching.take(tenant)
            except TimeoutError:
                raise _busy() from None
            try:
                async with self._fetcher.open(url, param) as fetched:
                    await fill(spool, fetched.body)
            finally:
                fetching.release()
            yield spool, fetched.filename

    def _turn(self, slots: asyncio.Semaphore) -> AbstractAsyncContextManager[None]:
        return turn(slots, self._limits.admission_wait_seconds, _busy())


def _busy() -> ServiceUnavailable:
    return ServiceUnavailable("Too many media are being taken in right now. Please try again shortly.")


def _data_start(url: str, param: str | None) -> int:
    """Where the base64 of a ``data:`` URL begins."""
    header = _DATA_URL.match(url)
    if header is None:
        raise InvalidRequest(
            "A data URL must have the form data:<media type>;base64,<data>.", param, "invalid_data_url"
        )
    return header.end()


def _decoded_bytes(data: str, start: int) -> int:
    return (len(data) - start) // 4 * 3 - data.count("=", max(start, len(data) - 2))


def _decode_base64(data: str, param: str | None) -> bytes:
    try:
        return pybase64.b64decode(data, validate=True)  # the standard library's takes 40 times as long
    except (binascii.Error, ValueError) as error:
        raise InvalidRequest(
            f"The media{in_field(param)} is not valid base64 (standard alphabet, with padding, no spaces).",
            param,
            "invalid_base64",
        ) from error
