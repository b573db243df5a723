"""The facts about Lance that the table is built on: atomic replacement, no doubles, nothing acknowledged
lost.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from search_tables import DIMENSIONS, contents, created, opened, rows

from search.errors import DimensionMismatch, SearchUnavailable
from search.location import TableLocation
from search.table import RowTable, table_schema
from search.types import CollectionSpec, SpaceSpec

REPO = Path(__file__).resolve().parents[3]
NASTY_IDS = [
    "it's",
    "''",
    "' OR '1'='1",
    'a "b"',
    "back\\slash",
    "%_*",
    "line\nbreak",
    "\N{GRINNING FACE} é",
    "--",
    "a;b",
]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "tenant" / "things.lance"


@pytest.fixture
def table(path: Path) -> RowTable:
    return created(TableLocation.local(path))


def test_open_finds_only_finished_tables(path: Path) -> None:
    assert opened(TableLocation.local(path)) is None
    (path / "_versions").mkdir(parents=True)  # what a creation leaves that died half way
    (path / "data").mkdir()
    assert opened(TableLocation.local(path)) is None
    created(TableLocation.local(path))
    table = opened(TableLocation.local(path))
    assert table is not None
    assert table.dimensions == DIMENSIONS
    assert contents(table) == []


def test_create_finds_a_table_that_is_there(path: Path, table: RowTable) -> None:
    table.replace(rows(("a", 2)), ["a"])
    assert contents(created(TableLocation.local(path))) == [("a", 0, ""), ("a", 1, "")]


def test_racing_creators_share_one_table(tmp_path: Path) -> None:
    barrier = threading.Barrier(6)

    def work(path: Path, number: int) -> None:
        barrier.wait(timeout=30)
        table = created(TableLocation.local(path))
        table.replace(rows((f"d{number}", 1)), [f"d{number}"])

    with ThreadPoolExecutor(6) as pool:
        for attempt in range(8):
            path = tmp_path / f"{attempt}.lance"
            for done in [pool.submit(work, path, number) for number in range(6)]:
                done.result(timeout=60)
            assert len(contents(created(TableLocation.local(path)))) == 6


def test_replacing_is_one_commit(table: RowTable) -> None:
    table.replace(rows(("a", 3), ("b", 2), text="old"), ["a", "b"])
    before = table.latest_version()
    pinned = table.state()
    version = table.replace(rows(("a", 1), ("c", 1), text="new"), ["a", "c"])
    assert version == before + 1 == table.latest_version()
    assert contents(table) == [("a", 0, "new"), ("b", 0, "old"), ("b", 1, "old"), ("c", 0, "new")]
    assert len(pinned.read(fragment.id for fragment in pinned.fragments)) == 5  # a pinned state never changes


def test_a_document_can_grow(table: RowTable) -> None:
    table.replace(rows(("a", 1), text="old"), ["a"])
    table.replace(rows(("a", 3), text="new"), ["a"])
    assert contents(table) == [("a", 0, "new"), ("a", 1, "new"), ("a", 2, "new")]


def test_delete(table: RowTable) -> None:
    version = table.replace(rows(("a", 2), ("b", 1)), ["a", "b"])
    assert table.delete("missing") == version == table.latest_version()
    assert table.delete("a") == version + 1
    assert contents(table) == [("b", 0, "")]
    assert table.delete("a") == version + 1


@pytest.mark.parametrize("nasty", NASTY_IDS)
def test_ids_are_quoted(table: RowTable, nasty: str) -> None:
    table.replace(rows((nasty, 2), ("other", 1)), [nasty, "other"])
    table.replace(rows((nasty, 1), text="new"), [nasty])
    assert contents(table) == sorted([(nasty, 0, "new"), ("other", 0, "")])
    table.delete(nasty)
    assert contents(table) == [("other", 0, "")]


def test_vectors_of_another_length_are_refused(path: Path, table: RowTable) -> None:
    with pytest.raises(DimensionMismatch):
        table.replace(table_schema(CollectionSpec((SpaceSpec("default", DIMENSIONS + 1),))).empty_table(), [])


def test_many_adds_keep_few_fragments_and_every_row(table: RowTable) -> None:
    version = 0
    for number in range(75):
        version = table.replace(rows((f"d{number}", 1 + number % 2)), [f"d{number}"])
        assert version <= table.latest_version()
    assert len(table.state().fragments) <= 33
    assert len(contents(table)) == 75 + 37
    assert table.delete("d0") > version


def test_small_adds_never_rewrite_a_large_fragment(table: RowTable) -> None:
    names = [f"bulk{number}" for number in range(2000)]
    table.replace(rows(*((name, 1) for name in names)), names)
    (large,) = table.state().fragments
    for number in range(70):
        table.replace(rows((f"d{number}", 1)), [f"d{number}"])
    assert large in table.state().fragments
    assert len(table.state().fragments) <= 34


def test_damage_is_an_error_without_paths(path: Path, table: RowTable) -> None:
    table.replace(rows(("a", 1)), ["a"])
    for file in (path / "data").iterdir():
        file.write_bytes(file.read_bytes()[:100])
    damaged = opened(TableLocation.local(path))
    assert damaged is not None
    with pytest.raises(SearchUnavailable) as caught:
        contents(damaged)
    assert str(path) not in caught.value.message
    assert "things" not in caught.value.message


def run_script(script: str, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", script, *arguments],
        stdout=subprocess.PIPE,
        text=True,
        cwd=REPO,
        env={**os.environ, "PYTHONPATH": f"{REPO}{os.pathsep}{REPO / 'tests'}"},
    )


RACER = """
import sys
from pathlib import Path
from search.location import TableLocation
from search_tables import created, rows
table = created(TableLocation.local(Path(sys.argv[1])))
who = sys.argv[2]
for number in range(12):
    same, own = f"same{number}", f"{who}-{number}"
    version = table.replace(rows((same, 1 + (number + int(who)) % 3), (own, 1), text=who), [same, own])
    state = table.state()
    assert state.version >= version
    seen = {row["document_id"] for row in state.read(f.id for f in state.fragments).to_pylist()}
    assert {same, own} <= seen, (version, state.version)
    if number % 4 == 3:
        table.delete(f"{who}-{number - 1}")
"""


def test_processes_racing_on_the_same_documents_neither_lose_nor_double(path: Path) -> None:
    racers = [run_script(RACER, str(path), str(number)) for number in range(3)]
    for racer in racers:
        with racer:
            assert racer.wait(timeout=100) == 0
    found = contents(created(TableLocation.local(path)))
    assert len({(document_id, ordinal) for document_id, ordinal, _ in found}) == len(found)
    kept = {document_id for document_id, _, _ in found}
    deleted = {2, 6, 10}
    assert kept == {f"same{n}" for n in range(12)} | {
        f"{who}-{n}" for who in range(3) for n in range(12) if n not in deleted
    }
    for number in range(12):  # each document is one writer's, whole
        parts = [(ordinal, text) for document_id, ordinal, text in found if document_id == f"same{number}"]
        (writer,) = {text for _, text in parts}
        assert [ordinal for ordinal, _ in parts] == list(range(1 + (number + int(writer)) % 3))


KILLED = """
import json, sys
from pathlib import Path
from search.location import TableLocation
from search_tables import created, rows
table = created(TableLocation.local(Path(sys.argv[1])))
start = int(sys.argv[2])
for number in range(start, start + 1_000_000):
    name = f"d{number}"
    version = table.replace(rows((name, 2), ("counter", 1), text=str(number)), [name, "counter"])
    print(json.dumps([number, version]), flush=True)
"""


def test_killed_writers_lose_nothing_acknowledged(path: Path) -> None:
    acknowledged: list[int] = []
    last_version = 0
    for kill_round in range(3):
        with run_script(KILLED, str(path), str(kill_round * 1_000_000)) as writer:
            assert writer.stdout is not None
            lines = [writer.stdout.readline() for _ in range(3 + 5 * kill_round)]
            writer.kill()
            lines += [line for line in writer.stdout if line.endswith("\n")]
        for number, version in map(json.loads, lines):
            acknowledged.append(number)
            assert version > last_version
            last_version = version
    table = created(TableLocation.local(path))
    found = contents(table)
    for number in acknowledged:
        assert [(f"d{number}", part, str(number)) for part in (0, 1)] == [
            row for row in found if row[0] == f"d{number}"
        ]
    assert len([row for row in found if row[0] == "counter"]) == 1
    assert table.replace(rows(("after", 1)), ["after"]) > last_version


def test_a_write_is_not_refused_for_what_fails_after_its_commit(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: object) -> bool:
        raise OSError("The store is away.")

    table = created(TableLocation.local(path))
    monkeypatch.setattr("search.commits.compact_small_fragments", away)
    version = table.replace(rows(("a", 1)), ["a"])
    assert version == table.latest_version()
    assert [name for name, _, _ in contents(table)] == ["a"]
