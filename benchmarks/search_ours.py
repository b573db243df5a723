"""Ours behind the questions of ``benchmarks.search_peer``: a Lance table and ``Collection.search`` over it.

search_ours.py KIND DATA_FOLDER INDEX_FOLDER THREADS
"""

from __future__ import annotations

import json
import os
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # it is run as a file, as the peers are

import numpy as np

from benchmarks.search_peer import BLOCK, TOP_K, held_since, memory, opened, timed
from search.collection import Collection
from search.config import SearchConfig
from search.filters import Range
from search.location import TableLocation
from search.rows import rows_table
from search.table import RowTable, new_session
from search.types import CollectionSpec, IndexSpec, Query, Row, SpaceSpec
from storage.local import LocalObjectStore

KINDS = {
    "": IndexSpec(),
    "int8": IndexSpec(storage="int8"),
    "ivf-pq": IndexSpec(kind="ivf_pq"),
    "hnsw": IndexSpec(kind="hnsw"),
}


class Ours:
    """A collection whose documents are the rows' numbers, each with its lot as metadata."""

    def __init__(self, kind: str, data: Path, threads: int) -> None:
        self._vectors = np.load(data / "vectors.npy", mmap_mode="r")
        self._lots = np.load(data / "lots.npy").tolist()
        self._spec = CollectionSpec((SpaceSpec("default", self._vectors.shape[1]),), KINDS[kind])
        self._threads = threads

    def build(self, folder: Path) -> None:
        """Write the table, and have its index built and saved."""
        place = self._place(folder)
        place.prepare()
        table = RowTable.create(place, self._spec, new_session(), time.time())
        for start in range(0, len(self._vectors), BLOCK):
            block = np.asarray(self._vectors[start : start + BLOCK])
            rows = [
                Row(str(start + number), "image", vector, metadata={"lot": self._lots[start + number]})
                for number, vector in enumerate(block)
            ]
            table.replace(
                rows_table("bench", rows, self._spec, time.time()), [row.document_id for row in rows]
            )
        collection = self._collection(folder, table, self._threads)
        collection.build_now()
        collection.close()

    def load(self, folder: Path) -> None:
        """As a reader that starts cold does: saved segments, then whatever is newer."""
        table = RowTable.open(self._place(folder), new_session())
        assert table is not None
        self._open = self._collection(folder, table, threads=1)
        self._open.counts()

    def search(self, query: Any, below: int | None = None) -> list[int]:
        """The ids found, by the call that the search deployment makes."""
        where = None if below is None else Range("lot", below=below)
        return [
            int(hit.document_id) for hit in self._open.search(Query(query, top_k=TOP_K, where=where)).hits
        ]

    def _place(self, folder: Path) -> TableLocation:
        return TableLocation.local(folder / "bench" / "rows.lance")

    def _collection(self, folder: Path, table: RowTable, threads: int) -> Collection:
        # Smaller runs are of an index too.
        flat_rows = min(SearchConfig(folder).flat_rows, len(self._vectors) // 2)
        settings = SearchConfig(folder, self._vectors.shape[1], threads, flat_rows=flat_rows)
        return Collection(table, settings, LocalObjectStore(folder / ".objects"), folder / ".cache")


def mapped_index_bytes(folder: Path) -> int:
    """Size of the index files that the process has mapped, whether pages were read yet or not.

    Those of full vectors and rows are mapped too, but not counted: an answer touches a few pages of them.
    """
    lines = Path("/proc/self/maps").read_text().splitlines()
    paths = {Path(line[line.index("/") :]) for line in lines if str(folder) in line}
    return sum(path.stat().st_size for path in paths if path.is_file() and _starts(path, b"Iw"))


def _starts(path: Path, magic: bytes) -> bool:
    with path.open("rb") as file:
        return file.read(len(magic)) == magic


def main() -> None:
    """Read questions until the input ends."""
    kind, data, folder, threads = sys.argv[1:]
    answers, sys.stdout = sys.stdout, sys.stderr
    queries = np.load(Path(data) / "queries.npy")
    ours = Ours(kind.partition(" ")[2], Path(data), int(threads))
    before = memory()
    for line in sys.stdin:
        question = json.loads(line)
        try:
            match question["do"]:
                case "open":
                    answer = opened(ours, Path(folder))
                case "memory":
                    answer = {**held_since(before), "mapped_index_bytes": mapped_index_bytes(Path(folder))}
                case _:
                    some = queries[: question["count"]]
                    answer = timed(
                        partial(ours.search, below=question.get("below")), some, question["callers"]
                    )
        except Exception as error:
            answer = {"error": f"{type(error).__name__}: {error}"[:500]}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()
    os._exit(0)  # libraries keep threads


if __name__ == "__main__":
    main()
