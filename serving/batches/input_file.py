"""The file that a batch is made of, read again and again over hours without keeping it open."""

from __future__ import annotations

from collections.abc import Iterator

from serving.batches.lines import Line, lines_of
from serving.batches.records import Batch
from storage.digests import CHUNK_BYTES
from storage.media import MediaStore
from storage.types import MediaRef

__all__ = ["input_lines"]


def input_lines(media: MediaStore, batch: Batch, max_line_bytes: int) -> Iterator[Line]:
    """The file's lines. Blocks. Raises ``MediaNotFound`` when it was deleted, ``CorruptObject``."""
    yield from lines_of(_pieces(media, media.get(batch.tenant, batch.input_file_id).ref), max_line_bytes)


def _pieces(media: MediaStore, ref: MediaRef) -> Iterator[bytes]:
    # One stream for each: minutes may pass between them, and servers end connections that are idle so long.
    for start in range(0, ref.size_bytes, CHUNK_BYTES):
        yield b"".join(media.stream(ref, start, start + CHUNK_BYTES))
