"""The one safe door for media: whatever the source, bytes are typed by content, stored, and probed.

Behind this door only ``MediaRef`` travels. Nothing that was refused stays stored. Fetching has turns of its
own: slow web servers keep nobody waiting who brings the bytes along.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import io
import logging
import re
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager, contextmanager
from dataclasses import dataclass
from typing import BinaryIO, cast

from encoders.decoding.sniff import SNIFF_BYTES, Sniffed, sniff
from encoders.errors import EncoderError
from encoders.types import MediaInfo, MediaKind
from serving.concurrency import to_the_end, turn
from serving.config import RequestLimits
from serving.errors import (
    InvalidRequest,
    LimitExceeded,
    MediaKindMismatch,
    ServiceUnavailable,
    answer_for,
)
from serving.fetch import MediaFetcher
from serving.perceiver import Perceiver
from storage.errors import StoreUnavailable
from storage.media import MediaStore
from storage.types import MediaRecord

__all__ = ["ANY_KIND", "Admission", "AdmittedMedia", "naming"]

ANY_KIND = frozenset(MediaKind)

_DATA_URL = re.compile(r"data:[^,;]{0,127}(?:;[^,;]{1,127}){0,8};base64,", re.IGNORECASE)
_MAX_FETCHING = 8
_MAX_STORING = 8
_SPOOL_BYTES = 4 << 20
_WRITE_BYTES = 1 << 20

_log = logging.getLogger("manymodal.gateway")


@dataclass(frozen=True, slots=True)
class AdmittedMedia:
    """A stored medium and what its header says."""

    record: MediaRecord
    info: MediaInfo


class Admission:
    """Takes media in from references (data URL, http URL, id), base64 and files. One per gateway."""

    def __init__(
        self, media: MediaStore, perceiver: Perceiver, fetcher: MediaFetcher, limits: RequestLimits
    ) -> None:
        self._media = media
        self._perceiver = perceiver
        self._fetcher = fetcher
        self._limits = limits
        self._fetching = asyncio.Semaphore(_MAX_FETCHING)
        self._storing = asyncio.Semaphore(_MAX_STORING)

    async def from_reference(
        self,
        tenant: str,
        reference: str,
        expected: frozenset[MediaKind] = ANY_KIND,
        param: str | None = None,
        filename: str | None = None,
    ) -> AdmittedMedia:
        """A ``data:`` URL, an http(s) URL, or the id of a medium stored before."""
        scheme = reference[:8].lower()
        if scheme.startswith("data:"):
            header = _DATA_URL.match(reference)
            if header is None:
                raise InvalidRequest(
                    "A data URL must have the form data:<media type>;base64,<data>.",
                    param,
                    "invalid_data_url",
                )
            return await self.from_base64(tenant, reference[header.end() :], expected, param, filename)
        if scheme.startswith(("http://", "https://")):
            return await self._from_url(tenant, reference, expected, param, filename)
        if scheme.startswith("media-"):
            return await self.from_id(tenant, reference, expected, param)
        raise InvalidRequest(
            "Media must be given as a data: URL, an http(s) URL, or the id of an uploaded medium.",
            param,
            "invalid_media_reference",
        )

    async def from_id(
        self, tenant: str, media_id: str, expected: frozenset[MediaKind] = ANY_KIND, param: str | None = None
    ) -> AdmittedMedia:
        """A medium stored before. Raises ``MediaNotFound``."""
        record = await asyncio.to_thread(self._media.get, tenant, media_id)
        with naming(param):
            info = await self._perceiver.probe(record.ref)
        _check_kind(info, expected, param)
        return AdmittedMedia(record, info)

    async def from_base64(
        self,
        tenant: str,
        data: str,
        expected: frozenset[MediaKind] = ANY_KIND,
        param: str | None = None,
        filename: str | None = None,
    ) -> AdmittedMedia:
        """Base64 by RFC 4648, strictly: standard alphabet, padding, no spaces."""
        limit = self._limits.max_media_bytes
        if len(data) // 4 * 3 > limit + 2:
            raise LimitExceeded(f"The media is larger than {limit} bytes (max_media_bytes).", param)
        async with self._turn(self._storing):
            content = await asyncio.to_thread(_decode_base64, data, param)
            return await self._admit(tenant, io.BytesIO(content), filename, expected, param)

    async def from_file(
        self,
        tenant: str,
        file: BinaryIO,
        filename: str | None,
        expected: frozenset[MediaKind] = ANY_KIND,
        param: str | None = None,
    ) -> AdmittedMedia:
        """An open file at its beginning, such as an upload."""
        async with self._turn(self._storing):
            return await self._admit(tenant, file, filename, expected, param)

    async def _from_url(
        self, tenant: str, url: str, expected: frozenset[MediaKind], param: str | None, filename: str | None
    ) -> AdmittedMedia:
        with tempfile.SpooledTemporaryFile(max_size=_SPOOL_BYTES, dir=self._media.spool_folder) as spooled:
            spool = cast(BinaryIO, spooled)
            async with self._turn(self._fetching), self._fetcher.open(url, param) as fetched:
                await _write(fetched.body, spool)
            async with self._turn(self._storing):
                return await self._admit(tenant, spool, filename or fetched.filename, expected, param)

    async def _admit(
        self,
        tenant: str,
        file: BinaryIO,
        filename: str | None,
        expected: frozenset[MediaKind],
        param: str | None,
    ) -> AdmittedMedia:
        with naming(param):
            sniffed = await asyncio.to_thread(_sniff_file, file)
        if not sniffed.kinds & expected:
            raise MediaKindMismatch(
                f"The media{_at(param)} is {sniffed.content_type}; {_words(expected)} was expected.", param
            )
        putting = asyncio.create_task(
            asyncio.to_thread(
                self._media.put,
                tenant,
                file,
                sniffed.content_type,
                filename,
                {},
                self._limits.max_media_bytes,
            )
        )
        writing: list[asyncio.Task[MediaRecord]] = [putting]
        try:
            record = await asyncio.shield(putting)
            with naming(param):
                info = await self._perceiver.probe(record.ref)
            _check_kind(info, expected, param)
            if record.ref.content_type != info.content_type:
                retyping = asyncio.to_thread(self._media.retype, record, info.content_type)
                writing.append(asyncio.create_task(retyping))
                record = await asyncio.shield(writing[-1])
        except BaseException:
            await to_the_end(self._take_back(tenant, writing))
            raise
        return AdmittedMedia(record, info)

    async def _take_back(self, tenant: str, writing: list[asyncio.Task[MediaRecord]]) -> None:
        """Delete what ``writing`` stores. Its threads cannot be cancelled and still read the file: wait.

        A failure is logged: the error that led here is the one to answer with.
        """
        await asyncio.wait(writing)
        if writing[0].exception() is not None:
            return
        try:
            await asyncio.to_thread(self._media.delete, tenant, writing[0].result().ref.id)
        except Exception as error:
            _log.error("A refused medium could not be deleted and stays stored", exc_info=error)

    def _turn(self, slots: asyncio.Semaphore) -> AbstractAsyncContextManager[None]:
        busy = ServiceUnavailable("Too many media are being taken in right now. Please try again shortly.")
        return turn(slots, self._limits.admission_wait_seconds, busy)


@contextmanager
def naming(param: str | None) -> Iterator[None]:
    """Let the encoders' refusals of a medium name the request field it came in."""
    try:
        yield
    except EncoderError as error:
        answer = answer_for(error)
        if param is None or answer is None or answer.status >= 500:
            raise
        raise InvalidRequest(
            f"The media{_at(param)} was refused: {error.message}", param, answer.code
        ) from error


def _decode_base64(data: str, param: str | None) -> bytes:
    try:
        return base64.b64decode(data, validate=True)
    except (binascii.Error, ValueError) as error:
        raise InvalidRequest(
            f"The media{_at(param)} is not valid base64 (standard alphabet, with padding, no spaces).",
            param,
            "invalid_base64",
        ) from error


async def _write(body: AsyncIterator[bytes], spool: BinaryIO) -> None:
    """Write ``body`` to ``spool`` in a thread, a large piece at a time, and go back to its beginning."""
    waiting = bytearray()

    def write() -> None:
        try:
            spool.write(waiting)
        except OSError as error:
            _log.error("A fetched medium could not be spooled", exc_info=error)
            raise StoreUnavailable("There is no room to receive the media. Try again later.") from error
        waiting.clear()

    async for chunk in body:
        waiting += chunk
        if len(waiting) >= _WRITE_BYTES:
            await to_the_end(asyncio.to_thread(write))
    await to_the_end(asyncio.to_thread(write))
    spool.seek(0)


def _sniff_file(file: BinaryIO) -> Sniffed:
    sniffed = sniff(file.read(SNIFF_BYTES))
    file.seek(0)
    return sniffed


def _check_kind(info: MediaInfo, expected: frozenset[MediaKind], param: str | None) -> None:
    if info.kind not in expected:
        raise MediaKindMismatch(
            f"The media{_at(param)} is {_words(frozenset({info.kind}))} ({info.content_type}); "
            f"{_words(expected)} was expected.",
            param,
        )


def _words(kinds: frozenset[MediaKind]) -> str:
    names = {MediaKind.IMAGE: "an image", MediaKind.AUDIO: "audio", MediaKind.VIDEO: "a video"}
    return " or ".join(names[kind] for kind in MediaKind if kind in kinds)


def _at(param: str | None) -> str:
    return f" in '{param}'" if param else ""
