"""A process that writes and deletes media until it is killed, and the warm server that forks it.

``python media_writer.py <folder of a local store, or S3Config as JSON>``: every line on standard input is the seed
of a writer to fork. Standard output, in lines: ``worker <pid>``; what the writer is about to do and what it has
done; ``dead``.
"""

from __future__ import annotations

import hashlib
import io
import json
import sys
from collections.abc import Callable
from pathlib import Path

import doomed_workers
import numpy as np
from doomed_workers import say

import storage.blob_reader
import storage.digests
import storage.intake
from storage.artifacts import ArtifactStore
from storage.config import S3Config
from storage.local import LocalObjectStore
from storage.media import MediaStore
from storage.objects import ObjectStore
from storage.s3.store import S3ObjectStore

__all__ = ["artifact_of", "content", "make_chunks_small", "open_store"]

CONTENTS = 12
_CROWDED = 30


def make_chunks_small(set_: Callable[[object, str, int], object] = setattr) -> None:
    """Digests already for contents of more than 8 KiB, in this process. ``set_`` may remember what was there."""
    for module in (storage.digests, storage.blob_reader, storage.intake):
        for name, size_bytes in (("CHUNK_BYTES", 4 << 10), ("SMALL_BLOB_BYTES", 8 << 10)):
            if hasattr(module, name):
                set_(module, name, size_bytes)


def content(number: int) -> bytes:
    """One of ``CONTENTS`` contents of different sizes, from none to 130 KiB."""
    return np.random.default_rng(number).bytes(number * number * 1100)


def artifact_of(sha256: str) -> tuple[str, bytes]:
    """The key and value of what is derived from a content."""
    return hashlib.sha256(sha256.encode()).hexdigest(), sha256.encode() * 50


def open_store(where: str) -> ObjectStore:
    """The store that a command line names."""
    if where.startswith("{"):
        return S3ObjectStore(S3Config(**json.loads(where)))
    return LocalObjectStore(Path(where))


def write_until_killed(where: str, seed: int) -> None:
    """Uploads, deletions and artifacts in random order, each acknowledged once it is done."""
    chance = np.random.default_rng(seed)
    store = open_store(where)
    media, artifacts = MediaStore(store), ArtifactStore(store)
    known = [record.ref for record in media.list("acme")]
    while True:
        action = chance.random()
        if known and (action < 0.3 or len(known) > _CROWDED):
            ref = known.pop(chance.integers(len(known)))
            say("deleting", ref.id, ref.sha256)
            media.delete("acme", ref.id)
            say("deleted", ref.id)
        elif known and action < 0.5:
            ref = known[chance.integers(len(known))]
            artifacts.put("acme", ref.sha256, *artifact_of(ref.sha256))
            say("derived", ref.sha256)
        else:
            data = content(int(chance.integers(CONTENTS)))
            ref = media.receive("acme", io.BytesIO(data), "x/y", 1 << 30)
            media.commit(ref, filename=None)
            say("stored", ref.id, ref.sha256)
            known.append(ref)


def serve(where: str) -> None:
    """Writers by seed."""
    make_chunks_small()
    doomed_workers.serve(lambda seed: write_until_killed(where, int(seed)))


if __name__ == "__main__":
    serve(sys.argv[1])
