"""A table that is put back from a backup, while segments that were saved later stay."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from search_collections import DIMENSIONS, OpenTable, open_table

from search.types import IndexSpec, Row


def documents(*names: str) -> list[Row]:
    vectors = np.random.default_rng(0).standard_normal((len(names), DIMENSIONS)).astype(np.float32)
    return [Row(name, "image", vector) for name, vector in zip(names, vectors, strict=True)]


BASE = [f"base{number:02}" for number in range(40)]


class Restored:
    """A collection below a folder, of which the tables alone are put back as they were at ``back_up``."""

    def __init__(self, folder: Path) -> None:
        self._tables = folder / "root" / "t"
        self._backup = folder / "backup"
        self.table = self._opened()
        self.table.add(documents(*BASE))

    def _opened(self) -> OpenTable:
        return open_table(self._tables.parent, IndexSpec("ivf"), flat_rows=30, threads=1)

    def back_up(self) -> None:
        shutil.copytree(self._tables, self._backup)

    def save_segments(self) -> None:
        reader = self.table.reader()
        reader.build_now()
        assert [segment.is_indexed for segment in reader.snapshot.segments] == [True]
        reader.close()

    def restore(self) -> None:
        shutil.rmtree(self._tables)
        shutil.copytree(self._backup, self._tables)
        self.table = self._opened()

    def found(self) -> tuple[list[str], bool]:
        """The documents that a reader shows, and whether a saved segment is among what it shows."""
        reader = self.table.reader()
        ids = [document.document_id for document in reader.scroll(None, 1000, None)]
        saved = any(segment.is_indexed for segment in reader.snapshot.segments)
        reader.close()
        return ids, saved


@pytest.fixture
def collection(tmp_path: Path) -> Restored:
    return Restored(tmp_path)


def test_rows_added_after_the_backup_are_not_shown_in_place_of_those_added_after_it_was_put_back(
    collection: Restored,
) -> None:
    collection.back_up()
    collection.table.add(documents("lost"))
    collection.save_segments()
    collection.restore()
    assert collection.found()[0] == BASE
    collection.table.add(documents("new"))
    assert collection.found() == ([*BASE, "new"], False)


@pytest.mark.parametrize("later", [0, 1, 3])
def test_rows_deleted_after_the_backup_are_there_again(collection: Restored, later: int) -> None:
    collection.back_up()
    collection.table.table.delete("base01")
    collection.save_segments()
    collection.restore()
    gone = BASE[5 : 5 + later]
    collection.table.table.delete(*gone)
    assert collection.found() == ([name for name in BASE if name not in gone], False)


def test_segments_saved_before_the_backup_are_used(collection: Restored) -> None:
    collection.table.table.delete("base01")
    collection.save_segments()
    collection.back_up()
    collection.table.add(documents("lost"))
    collection.restore()
    collection.table.table.delete("base02")
    collection.table.add(documents("new"))
    assert collection.found() == ([BASE[0], *BASE[3:], "new"], True)
