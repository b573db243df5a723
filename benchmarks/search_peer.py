"""The peer program of ``benchmarks.search_scale``: one index of another library over JSON lines, without ours.

    search_peer.py KIND DATA_FOLDER INDEX_FOLDER THREADS

``{"do": "open"}`` builds the index when INDEX_FOLDER has none, else loads it, and answers with the seconds;
``{"do": "search", "breadth": n, "refine": r, "callers": c, "count": q}`` answers with seconds and ids;
``{"do": "filter", "below": limit, ...}`` likewise among rows whose lot is below the limit; ``{"do": "memory"}``
with the memory of the process and how much of it came since the start.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

TOP_K = 10
LINKS, BUILD_BREADTH = 16, 80
BLOCK = 50_000

Search = Callable[[Any, int, int], Any]


class Faiss:
    """Raw FAISS: inverted lists of full vectors, 8-bit numbers or fast-scan codes (re-scored), a graph, a scan."""

    def __init__(self, kind: str, data: Path, threads: int) -> None:
        import faiss

        self.kind, self.threads = kind, threads
        self.faiss: Any = faiss
        self.vectors = np.load(data / "vectors.npy", mmap_mode="r")
        self.lots = np.load(data / "lots.npy")
        faiss.omp_set_num_threads(threads)
        self.selector: Any = None
        self.made: dict[int, Any] = {}

    def build(self, folder: Path) -> None:
        faiss, size = self.faiss, self.vectors.shape[1]
        cells = int(2 * len(self.vectors) ** 0.5)
        names = {
            "flat": "Flat",
            "ivf": f"IVF{cells},Flat",
            "ivf-int8": f"IVF{cells},SQ8",
            "ivf-pq": f"IVF{cells},PQ{size // 4}x4fs",
            "hnsw": f"HNSW{LINKS}",
        }
        index = faiss.index_factory(size, names[self.kind], faiss.METRIC_INNER_PRODUCT)
        if self.kind == "hnsw":
            index.hnsw.efConstruction = BUILD_BREADTH
        if not index.is_trained:
            index.cp.niter, index.cp.max_points_per_centroid = 8, 40
            wanted = min(len(self.vectors), 40 * cells)
            rows = np.sort(np.random.default_rng(1).choice(len(self.vectors), wanted, replace=False))
            index.train(self.vectors[rows])
        for start in range(0, len(self.vectors), BLOCK):
            index.add(np.ascontiguousarray(self.vectors[start : start + BLOCK]))
        faiss.write_index(index, str(folder / "index.faiss"))

    def load(self, folder: Path) -> None:
        self.index = self.faiss.read_index(str(folder / "index.faiss"))

    def choose(self, below: int) -> None:
        """Answer only from rows with such a lot."""
        bits = np.packbits(self.lots < below, bitorder="little")
        self.selector = self.faiss.IDSelectorBitmap(bits)
        self.kept_bits = bits  # FAISS has a pointer to them
        self.made = {}

    def prepare(self) -> None:
        self.faiss.omp_set_num_threads(1)  # OpenMP keeps this per calling thread

    def parameters(self, breadth: int) -> Any:
        if self.kind == "flat":
            return self.faiss.SearchParameters(sel=self.selector)
        if self.kind == "hnsw":
            return self.faiss.SearchParametersHNSW(efSearch=breadth, sel=self.selector)
        return self.faiss.SearchParametersIVF(nprobe=breadth, sel=self.selector)

    def search(self, query: Any, breadth: int, refine: int) -> Any:
        parameters = self.made.get(breadth)
        if parameters is None:
            parameters = self.made[breadth] = self.parameters(breadth)
        if refine == 0:
            return self.index.search(query[None], TOP_K, params=parameters)[1][0]
        rows = self.index.search(query[None], TOP_K * refine, params=parameters)[1][0]
        rows = rows[rows >= 0]
        scores = self.vectors[rows] @ query
        return rows[np.argsort(-scores)[:TOP_K]]


class Hnswlib:
    """hnswlib's graph."""

    def __init__(self, kind: str, data: Path, threads: int) -> None:
        import hnswlib  # type: ignore[import-untyped]  # a peer, in an environment of its own

        self.vectors = np.load(data / "vectors.npy", mmap_mode="r")
        self.index, self.threads, self.breadth = hnswlib.Index("ip", self.vectors.shape[1]), threads, 0

    def build(self, folder: Path) -> None:
        self.index.init_index(len(self.vectors), M=LINKS, ef_construction=BUILD_BREADTH, random_seed=1)
        self.index.set_num_threads(self.threads)
        for start in range(0, len(self.vectors), BLOCK):
            block = np.ascontiguousarray(self.vectors[start : start + BLOCK])
            self.index.add_items(block, np.arange(start, start + len(block)))
        self.index.save_index(str(folder / "index.hnswlib"))

    def load(self, folder: Path) -> None:
        self.index = type(self.index)("ip", self.vectors.shape[1])
        self.index.load_index(str(folder / "index.hnswlib"))

    def prepare(self) -> None:
        pass

    def search(self, query: Any, breadth: int, refine: int) -> Any:
        if breadth != self.breadth:
            self.index.set_ef(breadth)
            self.breadth = breadth
        return self.index.knn_query(query, TOP_K, num_threads=1)[0][0]


class Usearch:
    """usearch's graph over float32."""

    def __init__(self, kind: str, data: Path, threads: int) -> None:
        from usearch.index import Index  # type: ignore[import-not-found]  # a peer

        self.vectors = np.load(data / "vectors.npy", mmap_mode="r")
        self.threads, self.breadth = threads, 0
        self.index = Index(
            ndim=self.vectors.shape[1],
            metric="ip",
            dtype="f32",
            connectivity=LINKS,
            expansion_add=BUILD_BREADTH,
        )

    def build(self, folder: Path) -> None:
        for start in range(0, len(self.vectors), BLOCK):
            block = np.ascontiguousarray(self.vectors[start : start + BLOCK])
            self.index.add(np.arange(start, start + len(block)), block, threads=self.threads)
        self.index.save(str(folder / "index.usearch"))

    def load(self, folder: Path) -> None:
        self.index.load(str(folder / "index.usearch"))

    def prepare(self) -> None:
        pass

    def search(self, query: Any, breadth: int, refine: int) -> Any:
        if breadth != self.breadth:
            self.index.expansion_search = breadth
            self.breadth = breadth
        return self.index.search(query, TOP_K, threads=1).keys


class Lancedb:
    """LanceDB with an index of its own on disk: IVF-PQ (its default), or IVF over graphs of 8-bit vectors."""

    def __init__(self, kind: str, data: Path, threads: int) -> None:
        self.kind, self.data = kind, data
        self.vectors = np.load(data / "vectors.npy", mmap_mode="r")

    def build(self, folder: Path) -> None:
        import lancedb  # type: ignore[import-not-found]  # a peer
        import pyarrow as pa

        size = self.vectors.shape[1]
        schema = pa.schema([("id", pa.int64()), ("vector", pa.list_(pa.float32(), size))])

        def batches() -> Any:
            for start in range(0, len(self.vectors), BLOCK):
                block = np.ascontiguousarray(self.vectors[start : start + BLOCK])
                column = pa.FixedSizeListArray.from_arrays(pa.array(block.reshape(-1)), size)
                ids = pa.array(np.arange(start, start + len(block)))
                yield pa.record_batch([ids, column], schema=schema)

        table = lancedb.connect(folder).create_table("rows", batches(), schema=schema)
        if self.kind == "ivf-pq":
            table.create_index(metric="dot", index_type="IVF_PQ", num_sub_vectors=size // 8)
        else:
            table.create_index(metric="dot", index_type="IVF_HNSW_SQ", m=LINKS, ef_construction=BUILD_BREADTH)

    def load(self, folder: Path) -> None:
        import lancedb

        self.table = lancedb.connect(folder).open_table("rows")

    def prepare(self) -> None:
        pass

    def search(self, query: Any, breadth: int, refine: int) -> Any:
        asked = (
            self.table.search(query).limit(TOP_K).select(["id", "_distance"]).nprobes(breadth).fast_search()
        )
        if self.kind != "ivf-pq":
            asked = asked.ef(max(TOP_K, 10 * refine))
        found = asked.refine_factor(refine).to_arrow() if refine else asked.to_arrow()
        return found.column("id").to_numpy()


LIBRARIES: dict[str, Any] = {"faiss": Faiss, "hnswlib": Hnswlib, "usearch": Usearch, "lancedb": Lancedb}


def memory() -> dict[str, int]:
    """Bytes of this process: anonymous (its own), and resident (mapped files included)."""
    lines = dict(
        line.split(":", 1)
        for line in Path("/proc/self/smaps_rollup").read_text().splitlines()[1:]
        if ":" in line
    )
    return {
        "anonymous_bytes": int(lines["Anonymous"].split()[0]) << 10,
        "rss_bytes": int(lines["Rss"].split()[0]) << 10,
    }


def held_since(before: dict[str, int]) -> dict[str, int]:
    """What the process holds, and how much of it came since."""
    now = memory()
    return {**now, **{f"grown_{name}": value - before[name] for name, value in now.items()}}


def timed(
    search: Callable[[Any], Any], queries: Any, callers: int, prepare: Callable[[], None] = lambda: None
) -> dict[str, Any]:
    """Each query by itself, from so many threads at once, each doing its share."""
    found: list[Any] = [None] * len(queries)
    each = np.empty(len(queries))
    start_together = threading.Barrier(callers + 1)
    failed: list[Exception] = []

    def caller(first: int) -> None:
        prepare()
        start_together.wait(60)
        try:
            for number in range(first, len(queries), callers):
                begun = time.perf_counter()
                found[number] = search(queries[number])
                each[number] = time.perf_counter() - begun
        except Exception as error:
            failed.append(error)

    threads = [threading.Thread(target=caller, args=(first,)) for first in range(callers)]
    for thread in threads:
        thread.start()
    start_together.wait(60)
    begun = time.perf_counter()
    for thread in threads:
        thread.join()
    seconds = time.perf_counter() - begun
    if failed:
        raise failed[0]
    ids = [[int(one) for one in row][:TOP_K] for row in found]
    return {
        "seconds": seconds,
        "p50_seconds": float(np.percentile(each, 50)),
        "p99_seconds": float(np.percentile(each, 99)),
        "ids": [row + [-1] * (TOP_K - len(row)) for row in ids],
    }


def opened(peer: Any, folder: Path) -> dict[str, Any]:
    """Build when there is nothing, load, and say what it took."""
    facts = folder / "built.json"
    if not facts.exists():
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        begun = time.perf_counter()
        peer.build(folder)
        facts.write_text(json.dumps({"build_seconds": round(time.perf_counter() - begun, 1)}))
        return {"built_now": True}
    begun = time.perf_counter()
    peer.load(folder)
    seconds = time.perf_counter() - begun
    return {"built_now": False, "load_seconds": round(seconds, 2), **json.loads(facts.read_text())}


def main() -> None:
    """Read questions until the input ends."""
    kind, data, folder, threads = sys.argv[1:]
    answers, sys.stdout = sys.stdout, sys.stderr
    os.environ.setdefault("LANCE_LOG", "error")
    library, _, variant = kind.partition(" ")
    queries = np.load(Path(data) / "queries.npy")
    peer = LIBRARIES[library](variant, Path(data), int(threads))
    before = memory()
    for line in sys.stdin:
        question = json.loads(line)
        try:
            if question["do"] == "open":
                before = memory()
                answer = opened(peer, Path(folder))
            elif question["do"] == "memory":
                answer = held_since(before)
            else:
                if question["do"] == "filter":
                    peer.choose(question["below"])
                breadth, refine = question["breadth"], question["refine"]
                some = queries[: question["count"]]
                answer = timed(
                    partial(peer.search, breadth=breadth, refine=refine),
                    some,
                    question["callers"],
                    peer.prepare,
                )
        except Exception as error:
            answer = {"error": f"{type(error).__name__}: {error}"[:500]}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
