"""The files that a batch ends with."""

from __future__ import annotations

import io
from typing import BinaryIO

from serving.batches.records import Batch, BatchState
from serving.batches.store import BatchStore
from serving.spooling import open_spool
from storage.errors import MediaNotFound, StoreUnavailable
from storage.media import MediaStore
from storage.records import id_time_seconds
from storage.types import MediaRef

__all__ = ["PURPOSE", "OutputFiles"]

PURPOSE = "batch_output"
_CONTENT_TYPE = "application/jsonl"
_MAX_BYTES = 1 << 40  # what was kept in pieces is kept whole


class OutputFiles:
    """Makes files in two steps, so that a crash between them leaves neither none nor two. Everything blocks."""

    def __init__(self, media: MediaStore, store: BatchStore) -> None:
        self._media = media
        self._store = store

    def spool(self) -> BinaryIO:
        """An empty file to write one in, to be closed."""
        return open_spool(self._media.spool_folder)

    def receive(self, batch: Batch, file: BinaryIO) -> MediaRef | None:
        """Store a file that nobody can look up yet; ``None`` for one without a byte."""
        if file.seek(0, io.SEEK_END) == 0:
            return None
        file.seek(0)
        return self._media.receive(batch.tenant, file, _CONTENT_TYPE, _MAX_BYTES)

    def publish(self, batch: Batch, state: BatchState) -> bool:
        """Make what was received files of the tenant's; doing it again changes nothing. ``False`` when it was
        received so long ago that it is gone.
        """
        for ref, name in ((state.output, "output"), (state.errors, "error")):
            if ref is None:
                continue
            lifetime = batch.lifetime_seconds
            created = int(id_time_seconds(ref.id))
            try:
                self._media.commit(
                    ref,
                    filename=f"{batch.id}_{name}.jsonl",
                    purpose=PURPOSE,
                    expires_at_seconds=None if lifetime is None else created + lifetime,
                )
            except StoreUnavailable:
                if self._media.blobs.is_referred(ref.tenant, ref.sha256, ref.id):
                    raise
                return False
        if self._store.wish(batch) == "forget":  # with all that the tenant has
            self._take_back(state)
        return True

    def _take_back(self, state: BatchState) -> None:
        for ref in (state.output, state.errors):
            if ref is not None:
                try:
                    self._media.delete(ref.tenant, ref.id)
                except MediaNotFound:
                    continue
