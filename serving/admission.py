"""The one safe door for media: whatever the source, bytes are typed by content, stored, and probed.

Behind this door only ``MediaRef`` travels. Nothing that was refused stays stored.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import io
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import BinaryIO, cast

from encoders.errors import EncoderError
from encoders.types import MediaInfo, MediaKind
from serving.config import RequestLimits
from serving.errors import InvalidRequest, LimitExceeded, MediaKindMismatch, answer_for
from serving.fetch import MediaFetcher
from serving.perceiver import Perceiver
from serving.sniff import SNIFF_BYTES, SniffedType, sniff
from storage.media import MediaStore
from storage.types import MediaRecord

__all__ = ["ANY_KIND", "Admission", "AdmittedMedia", "naming"]

ANY_KIND = frozenset(MediaKind)

_DATA_URL = re.compile(r"data:[^,;]{0,127}(?:;[^,;]{1,127}){0,8};base64,", re.IGNORECASE)
_MAX_CONCURRENT = 8
_SPOOL_BYTES = 4 << 20


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
        self._slots = asyncio.Semaphore(_MAX_CONCURRENT)

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
        async with self._slots:
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
        async with self._slots:
            return await self._admit(tenant, file, filename, expected, param)

    async def _from_url(
        self, tenant: str, url: str, expected: frozenset[MediaKind], param: str | None, filename: str | None
    ) -> AdmittedMedia:
        async with self._slots:
            with tempfile.SpooledTemporaryFile(max_size=_SPOOL_BYTES) as spool:
                async with self._fetcher.open(url, param) as fetched:
                    async for chunk in fetched.body:
                        spool.write(chunk)
                spool.seek(0)
                return await self._admit(
                    tenant, cast(BinaryIO, spool), filename or fetched.filename, expected, param
                )

    async def _admit(
        self,
        tenant: str,
        file: BinaryIO,
        filename: str | None,
        expected: frozenset[MediaKind],
        param: str | None,
    ) -> AdmittedMedia:
        sniffed = await asyncio.to_thread(_sniff_file, file)
        if not sniffed.kinds & expected:
            raise MediaKindMismatch(
                f"The media{_at(param)} is {sniffed.description}; {_words(expected)} was expected.", param
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
        try:
            record = await asyncio.shield(putting)
            with naming(param):
                info = await self._perceiver.probe(record.ref)
            _check_kind(info, expected, param)
        except BaseException:
            await self._take_back(tenant, putting)
            raise
        return AdmittedMedia(record, info)

    async def _take_back(self, tenant: str, putting: asyncio.Task[MediaRecord]) -> None:
        """Delete what ``putting`` stores. Its thread cannot be cancelled and still reads the file: wait."""
        await asyncio.wait({putting})
        if putting.exception() is None:
            await asyncio.shield(asyncio.to_thread(self._media.delete, tenant, putting.result().ref.id))


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


def _sniff_file(file: BinaryIO) -> SniffedType:
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
