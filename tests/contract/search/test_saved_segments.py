"""Saved segments on local files and on S3: cold starts, flipped bits anywhere, leftovers."""

from __future__ import annotations

import dataclasses
import logging
import secrets
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from exact_search import ExactCollection, check_exact
from search_collections import DIMENSIONS, OpenTable, open_table, random_document

from search.collection import Collection
from search.config import SearchConfig
from search.segment_files import remove_unnamed
from search.segment_record import SegmentRecord
from search.table import TableState
from search.types import IndexSpec, Query, SpaceSpec

FURTHER = (SpaceSpec("small", 8),)


class House:
    """A collection with one saved segment over both spaces, and what it should answer."""

    def __init__(self, config: SearchConfig) -> None:
        seed = secrets.randbits(32)
        logging.warning("seed %d", seed)  # shown when a test fails
        self.chance = np.random.default_rng(seed)
        self.config = config
        self.model = ExactCollection()
        self.table: OpenTable = open_table(
            config.root, IndexSpec("ivf"), FURTHER, flat_rows=100, s3=config.s3, threads=1
        )
        self.objects = self.table.location.records
        self.cache = self.table.location.cache_folder
        self.readers: list[Collection] = []
        self.prefix = f"search/segments/t/{self.table.table.uid}/"
        self.add(f"d{n}" for n in range(80))
        reader = self.reader()
        reader.build_now()
        (segment,) = reader.snapshot.segments
        assert segment.record is not None
        self.record: SegmentRecord = segment.record
        self.names = [file.sha256 for file in self.record.files()]
        assert len(self.names) == 5  # rows, and vectors and an index of each space

    def add(self, ids: Iterable[str]) -> int:
        rows = []
        for document_id in ids:
            for row in random_document(self.chance, document_id):
                vectors = {"small": row.vector[:8]} if row.part_index % 2 else {}
                rows.append(dataclasses.replace(row, vectors=vectors))
        self.table.add(rows, 1.0)
        self.model.add(rows, 1.0)
        return len(rows)

    def delete(self, *ids: str) -> None:
        self.table.table.delete(*ids)
        for document_id in ids:
            self.model.delete(document_id)

    def reader(self, cache: Path | None = None) -> Collection:
        """One that starts cold, as on another machine when ``cache`` is a folder of its own."""
        reader = self.table.reader(cache)
        self.readers.append(reader)
        return reader

    def check(self, reader: Collection) -> None:
        """Some answers are right, in both spaces."""
        for n in range(6):
            dimensions, space = ((DIMENSIONS, "default"), (8, "small"))[n % 2]
            vector = self.chance.standard_normal(dimensions).astype(np.float32)
            query = Query(vector, space=space, top_k=int(self.chance.integers(1, 60)), exact=True)
            check_exact(reader.search(query), self.model, query)


@pytest.fixture
def house(config: SearchConfig) -> Iterator[House]:
    house = House(config)
    yield house
    for reader in house.readers:
        reader.close()


@pytest.fixture
def rows_read(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Sizes of what is read from tables, vectors included."""
    sizes: list[int] = []
    read = TableState.read

    def counted(self: TableState, fragment_ids: Iterable[int], columns: list[str] | None = None) -> pa.Table:
        table = read(self, fragment_ids, columns)
        if columns is None:
            sizes.append(len(table))
        return table

    monkeypatch.setattr(TableState, "read", counted)
    return sizes


def test_a_cold_start_reads_only_what_came_after_the_saved_segment(
    house: House, rows_read: list[int], tmp_path: Path
) -> None:
    house.delete("d3", "d17")
    new = house.add(["e1", "e2", "d5"])
    reader = house.reader(tmp_path / "another machine")
    house.check(reader)
    assert sum(rows_read) == reader.snapshot.rows_read == new
    assert reader.snapshot.segments[0].record == house.record
    rows_read.clear()
    house.check(reader)
    assert rows_read == []


def test_copies_on_the_machine_are_used_again(house: House, rows_read: list[int]) -> None:
    for name in house.names:
        house.objects.delete(house.prefix + name)
    house.check(house.reader())
    assert rows_read == []


def test_a_collection_whose_saved_rows_are_all_gone(house: House) -> None:
    house.delete(*house.model.ids)
    house.check(house.reader())
    house.add(["d1"])
    reader = house.reader()
    house.check(reader)
    assert reader.counts()[:2] == (len(house.model), 1)


def flipped(data: bytes, bit: int) -> bytes:
    damaged = bytearray(data)
    damaged[bit // 8] ^= 1 << bit % 8
    return bytes(damaged)


DAMAGES: dict[str, Callable[[bytes, np.random.Generator], bytes | None]] = {
    "first bit": lambda data, chance: flipped(data, 0),
    "last bit": lambda data, chance: flipped(data, 8 * len(data) - 1),
    "some bit": lambda data, chance: flipped(data, int(chance.integers(8 * len(data)))),
    "cut": lambda data, chance: data[: len(data) // 2],
    "longer": lambda data, chance: data + b"\0",
    "empty": lambda data, chance: b"",
    "gone": lambda data, chance: None,
}


def test_damage_to_any_saved_file_is_noticed_and_mended(
    house: House, rows_read: list[int], tmp_path: Path
) -> None:
    """On another machine, so that the store's bytes are needed."""
    whole = {name: house.objects.get(house.prefix + name) for name in [*house.names, "manifest.json"]}
    for number, (name, data) in enumerate(whole.items()):
        for damage in DAMAGES if number in (0, 5) else list(DAMAGES)[number % 3 :: 3]:
            wrong = DAMAGES[damage](data, house.chance)
            if wrong is None:
                house.objects.delete(house.prefix + name)
            else:
                house.objects.put(house.prefix + name, wrong)
            rows_read.clear()
            reader = house.reader(tmp_path / f"{number} {damage}")
            house.check(reader)
            assert sum(rows_read) == len(house.model), (number, damage)
            reader.build_now()  # of the same rows comes the same segment, and is saved in the damaged one's place
            house.check(reader)
            assert house.objects.get(house.prefix + name) == data, (number, damage)
            rows_read.clear()
            house.check(house.reader(tmp_path / f"{number} {damage} mended"))
            assert rows_read == []


def test_damage_to_a_machines_copy_is_noticed_and_fetched_again(house: House, rows_read: list[int]) -> None:
    for name in house.names:
        for damage in ("some bit", "cut", "gone"):
            path = house.cache / name
            data = path.read_bytes()
            wrong = DAMAGES[damage](data, house.chance)
            path.unlink()  # a mapped file is never written to: a reader of before keeps its bytes
            if wrong is not None:
                path.write_bytes(wrong)
            reader = house.reader()
            house.check(reader)
            assert rows_read == []
            assert reader.snapshot.segments[0].record == house.record
            assert path.read_bytes() == data


def test_one_segments_file_under_anothers_name_is_not_used(
    house: House, rows_read: list[int], tmp_path: Path
) -> None:
    index, vectors = house.names[2], house.names[1]
    house.objects.put(house.prefix + index, house.objects.get(house.prefix + vectors))
    house.check(house.reader(tmp_path / "another machine"))
    assert sum(rows_read) == len(house.model)


def test_a_segment_of_other_settings_is_built_anew(house: House, rows_read: list[int]) -> None:
    settings = dataclasses.replace(house.table.settings, pq_rows=10)
    changed = dataclasses.replace(house.table, settings=settings)
    reader = changed.reader()
    assert house.table.table.spec.index.kind == "ivf"  # so pq_rows changes nothing
    house.check(reader)
    assert rows_read == []
    other = open_table(house.config.root / "other", IndexSpec(), flat_rows=100, threads=1)
    other.add([row for n in range(60) for row in random_document(house.chance, f"d{n}")])
    first = other.reader()
    first.build_now()
    again = dataclasses.replace(other, settings=dataclasses.replace(other.settings, pq_rows=10)).reader()
    again.build_now()
    before, after = (one.snapshot.segments[0].record for one in (first, again))
    assert before is not None
    assert after is not None
    assert (before.spaces["default"].plan.kind, after.spaces["default"].plan.kind) == ("ivf", "ivf_pq")


def test_another_processs_segment_is_taken_over(
    house: House, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    house.add(f"e{n}" for n in range(80))
    readers = [house.reader(tmp_path / f"machine {n}") for n in range(2)]
    for reader in readers:
        house.check(reader)
    readers[0].build_now()

    def never(*_: object) -> None:
        raise AssertionError("A segment was built that is saved already.")

    monkeypatch.setattr("search.collection.sealed_segment", never)
    readers[1].build_now()
    first, second = (reader.snapshot.segments[0].record for reader in readers)
    assert first is not None
    assert first == second
    house.check(readers[1])


def test_what_no_manifest_names_is_removed_after_a_while(house: House, tmp_path: Path) -> None:
    live = {"t": [house.table.table.uid]}
    house.objects.put(house.prefix + "0" * 64, b"left")
    house.objects.put("search/segments/u/gone/" + "1" * 64, b"left too")
    (house.cache / ("2" * 64)).write_bytes(b"and here")
    (house.cache / ".unfinished-1").write_bytes(b"half")
    assert remove_unnamed(house.objects, house.cache, live) == 0  # too young: they may be about to be named
    later = lambda: time.time() + 25 * 3600  # noqa: E731 - a clock
    assert remove_unnamed(house.objects, house.cache, live, clock=later) == 4 + 8 + 8 + 4
    assert remove_unnamed(house.objects, house.cache, live, clock=later) == 0
    assert {info.key for info in house.objects.list("search/segments/")} == {
        house.prefix + name for name in [*house.names, "manifest.json"]
    }
    assert sorted(path.name for path in house.cache.iterdir()) == sorted(house.names)
    house.check(house.reader())
    house.check(house.reader(tmp_path / "another machine"))


def test_replaced_segments_are_removed_while_they_are_read(house: House) -> None:
    old = house.reader()
    house.check(old)
    house.add(f"e{n}" for n in range(200))
    house.reader().build_now()
    live = {"t": [house.table.table.uid]}
    later = lambda: time.time() + 25 * 3600  # noqa: E731 - a clock
    assert remove_unnamed(house.objects, house.cache, live, clock=later) > 0
    assert not (house.cache / house.names[0]).exists()
    house.check(old)  # it has the old files mapped, and reads the difference from the table


def test_a_segment_whose_files_are_gone_is_not_named(house: House) -> None:
    """Another process replaced it, and its files were removed while this reader still has them mapped."""
    old = house.reader()
    house.check(old)
    for name in house.names:
        house.objects.delete(house.prefix + name)
        (house.cache / name).unlink()
    added = 0
    while added < 110:  # enough for a segment of its own, too few to take in the first one
        added += house.add([f"e{added}"])
    old.build_now()
    assert len(old.snapshot.segments) == 2
    house.check(old)
    fresh = house.reader()
    house.check(fresh)
    assert [segment.record for segment in fresh.snapshot.segments if segment.record == house.record] == []
