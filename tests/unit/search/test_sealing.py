"""Files of large segments when the disk is full."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from search_collections import DIMENSIONS, open_table

from search import sealing
from search.types import IndexSpec, Query, Row


@pytest.fixture
def rows() -> list[Row]:
    vectors = np.random.default_rng(0).standard_normal((4000, DIMENSIONS)).astype(np.float32)
    return [Row(f"d{number}", "image", vector) for number, vector in enumerate(vectors)]


def test_room_for_vectors_is_there_before_they_are_written_into_a_mapped_file(
    tmp_path: Path, rows: list[Row], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a full disk would kill the process (SIGBUS)."""
    table = open_table(tmp_path, IndexSpec("ivf"), flat_rows=100, threads=1)
    table.add(rows)
    missing_bytes = []
    copy_vectors = sealing.copy_vectors

    def looked_at(*arguments: Any) -> None:
        (path,) = table.location.cache_folder.glob(".unfinished-*")
        missing_bytes.append(path.stat().st_size - 512 * path.stat().st_blocks)
        copy_vectors(*arguments)

    monkeypatch.setattr(sealing, "copy_vectors", looked_at)
    reader = table.reader()
    reader.build_now()
    reader.close()
    assert len(missing_bytes) == 1
    assert missing_bytes[0] <= 0


def test_a_full_disk_leaves_rows_in_memory_and_nothing_half_written(
    tmp_path: Path, rows: list[Row], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    table = open_table(tmp_path, IndexSpec("ivf"), flat_rows=100, threads=1)
    table.add(rows)
    reader = table.reader()
    with monkeypatch.context() as patch:
        patch.setattr(os, "posix_fallocate", full)
        with pytest.raises(OSError, match="No space"):
            reader.build_now()
    assert list(table.location.cache_folder.iterdir()) == []
    assert len(reader.search(Query(rows[0].vector, top_k=5)).hits) == 5
    reader.build_now()
    assert reader.snapshot.segments[0].is_indexed
    reader.close()
