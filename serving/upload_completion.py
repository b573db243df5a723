"""From an upload's parts to a file: through the same door as every other file."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress

from serving.admission import Admission
from serving.concurrency import in_thread_or_undone, to_the_end, turn
from serving.config import RequestLimits
from serving.errors import ServiceUnavailable
from serving.removal import Remover
from storage.assembly import Storage
from storage.errors import MediaNotFound, StorageError
from storage.types import MediaRecord, MediaRef
from storage.uploads import Upload

__all__ = ["UploadCompletion"]

_MAX_COMPLETING = 2  # each may move gigabytes; other requests need threads and disk too


class UploadCompletion:
    """Completes uploads. One per gateway."""

    def __init__(
        self,
        storage: Storage,
        admission: Admission,
        remover: Remover,
        limits: RequestLimits,
    ) -> None:
        self._media = storage.media
        self._uploads = storage.uploads
        self._admission = admission
        self._remover = remover
        self._limits = limits
        self._completing = asyncio.Semaphore(_MAX_COMPLETING)

    async def complete(
        self, tenant: str, upload_id: str, part_ids: Sequence[str], md5: str | None
    ) -> tuple[Upload, MediaRecord | None]:
        """Make a file of the parts in this order; the completed upload and its file (``None``: deleted since).

        Again, or twice at once, gives the same file. Raises ``UploadNotFound``, ``UploadClosed``,
        ``UploadMismatch``, and what admission raises for a file that is refused; the upload then stays open.
        """
        upload = await asyncio.to_thread(self._uploads.get, tenant, upload_id)
        if upload.status != "completed":
            busy = ServiceUnavailable("Too many uploads are being completed right now. Try again shortly.")
            async with turn(self._completing, self._limits.admission_wait_seconds, busy):
                try:
                    upload = await self._completed(tenant, upload_id, part_ids, md5)
                except StorageError:
                    # Somebody else may have completed it and deleted the parts under our hands.
                    upload = await asyncio.to_thread(self._uploads.get, tenant, upload_id)
                    if upload.status != "completed":
                        raise
        try:
            return upload, await asyncio.to_thread(self._media.get, tenant, upload.file_id or "")
        except MediaNotFound:
            return upload, None

    async def _completed(
        self, tenant: str, upload_id: str, part_ids: Sequence[str], md5: str | None
    ) -> Upload:
        def receive() -> tuple[Upload, MediaRef]:
            upload = self._uploads.pending(tenant, upload_id)
            with self._uploads.open(upload, part_ids, md5) as parts:
                # Typed by admission, once the bytes are there.
                ref = self._media.receive(tenant, parts, "application/octet-stream", upload.size_bytes)
            try:
                self._uploads.note_file(upload, ref.id)
            except BaseException:
                self._media.abandon(ref)
                raise
            return upload, ref

        upload, ref = await in_thread_or_undone(receive, lambda received: self._media.abandon(received[1]))
        admitted = await self._admission.received_upload(
            ref, upload.filename, upload.purpose, upload.file_expires_after_seconds
        )
        # To the end: a file that the upload does not name must not stay.
        return await to_the_end(self._decided(upload, admitted.record.ref.id))

    async def _decided(self, upload: Upload, file_id: str) -> Upload:
        ended = await asyncio.to_thread(self._uploads.complete, upload, file_id)
        if ended.file_id != file_id:
            with suppress(MediaNotFound):  # the sweep was faster
                await self._remover.remove(upload.tenant, file_id)
        if ended.status != "completed":
            await asyncio.to_thread(self._uploads.pending, upload.tenant, upload.id)  # raises
        return ended
