"""Storing and reading media on a real S3 server, hashing included, against plain boto3 on the same server.

Ours: ``MediaStore.receive`` and ``commit`` of a file (reference, conditional put of the blob, record), and
``MediaStore.read`` or, for large media, ``MediaStore.stream`` (every byte checked). The peer: boto3's
``upload_fileobj`` and ``download_fileobj`` with its own defaults. Same bytes, alternating.
Goal: >= 0.8 of boto3's throughput for media of 16 MiB and more; smaller ones are reported, there the number of
requests decides, not bytes. Exit code 1 when the median of the rounds misses it. ``make bench-media``.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3

from benchmarks.report import ratios, summary, write
from storage.backends import open_object_store
from storage.config import S3Config, StorageConfig
from storage.media import MediaStore
from storage.types import MediaRef
from tests.s3_server import S3Server

GOAL = 0.8
SIZES_MIB = {1: 24, 16: 6, 128: 2, 512: 1}  # size -> media per round
GOAL_FROM_MIB = 16
_STREAM_FROM_MIB = 128
_CHUNK_BYTES = 1 << 20


def main() -> int:
    """Measure, print, write ``results/media.json``; the exit code says whether the goal was met."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--rounds", type=int, default=5)
    given = options.parse_args()
    missed: list[str] = []
    sizes: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(prefix="manymodal-bench-") as folder, _server(Path(folder)) as server:
        for size_mib, count in SIZES_MIB.items():
            measured = _measure(server.config, Path(folder), size_mib, count, given.rounds)
            entry: dict[str, Any] = {"mib_per_second": {n: summary(v) for n, v in measured.items()}}
            for direction in ("put", "get"):
                ratio = ratios(measured[f"our {direction}"], measured[f"boto3 {direction}"])
                entry[f"{direction}_ratio"] = ratio
                print(
                    f"{size_mib:>4} MiB {direction}: {ratio['median']:.2f} of boto3 "
                    f"({ratio['min']:.2f}-{ratio['max']:.2f}); "
                    f"{entry['mib_per_second'][f'our {direction}']['median']:.0f} MiB/s",
                    flush=True,
                )
                if size_mib >= GOAL_FROM_MIB and ratio["median"] < GOAL:
                    missed.append(
                        f"{direction} of {size_mib} MiB: {ratio['median']:.3f} of boto3's throughput"
                    )
            sizes[str(size_mib)] = entry
    result = {"sizes_mib": sizes, "goals": {"ratio_min": GOAL, "from_mib": GOAL_FROM_MIB}}
    print(f"Written to {write('media', result)}")
    for sentence in missed:
        print(f"MISSED: {sentence}")
    return 1 if missed else 0


@contextlib.contextmanager
def _server(folder: Path) -> Iterator[S3Server]:
    server = S3Server(folder / "weed")
    server.start()
    try:
        yield server
    finally:
        server.stop()


class _Ours:
    def __init__(self, config: S3Config, folder: Path) -> None:
        objects = open_object_store(StorageConfig(folder / "store", folder / "spool", s3=config))
        self._media = MediaStore(objects, folder)

    def put(self, content: bytes) -> MediaRef:
        ref = self._media.receive("bench", io.BytesIO(content), "application/octet-stream", 1 << 40)
        return self._media.commit(ref, filename=None).ref

    def get(self, ref: MediaRef) -> None:
        if ref.size_bytes >= _STREAM_FROM_MIB << 20:
            for _ in self._media.stream(ref):
                pass
        else:
            self._media.read(ref)

    def delete(self, ref: MediaRef) -> None:
        self._media.delete("bench", ref.id)


class _Boto3:
    def __init__(self, config: S3Config) -> None:
        self._bucket = config.bucket
        self._client = boto3.client(
            "s3",
            endpoint_url=config.endpoint_url,
            region_name=config.region,
            aws_access_key_id=config.access_key_id,
            aws_secret_access_key=config.secret_access_key,
        )

    def put(self, content: bytes) -> str:
        key = f"plain/{uuid.uuid4().hex}"
        self._client.upload_fileobj(io.BytesIO(content), self._bucket, key)
        return key

    def get(self, key: str) -> None:
        self._client.download_fileobj(self._bucket, key, io.BytesIO())

    def delete(self, key: str) -> None:
        self._client.delete_object(Bucket=self._bucket, Key=key)


def _measure(
    config: S3Config, folder: Path, size_mib: int, count: int, rounds: int
) -> dict[str, list[float]]:
    """MiB per second of every round, by who and what."""
    stores: dict[str, Any] = {"our": _Ours(config, folder), "boto3": _Boto3(config)}
    measured: dict[str, list[float]] = {f"{who} {what}": [] for what in ("put", "get") for who in stores}
    for number in range(rounds):
        contents = [os.urandom(size_mib << 20) for _ in range(count)]
        kept: dict[str, list[Any]] = {}
        order = list(stores) if number % 2 else list(stores)[::-1]
        for who in order:
            started = time.perf_counter()
            kept[who] = [stores[who].put(content) for content in contents]
            measured[f"{who} put"].append(size_mib * count / (time.perf_counter() - started))
        for who in order:
            started = time.perf_counter()
            for handle in kept[who]:
                stores[who].get(handle)
            measured[f"{who} get"].append(size_mib * count / (time.perf_counter() - started))
        for who in order:
            for handle in kept[who]:
                stores[who].delete(handle)
    return measured


if __name__ == "__main__":
    sys.exit(main())
