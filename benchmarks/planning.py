"""What ``manymodal plan`` predicts beside what is measured, as ratios of measured over predicted.

``python -m benchmarks.planning [--rows N]``. Storage and memory: collections of N clustered vectors of 512 numbers
(``benchmarks.search_data``; built here, or left by ``benchmarks.search_scale``) of each way to hold vectors,
measured as files on disk and as the memory of a process that has searched one. Rates: the newest results of the
other benchmarks beside the figures that the planner ships with. Exit code 1 when a ratio of storage or memory
lies outside of 0.67 to 1.5, or a rate outside of 0.67 to 2: below, a plan is too small, above, it wastes machines.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from benchmarks.report import RESULTS, write
from benchmarks.search_candidates import build_missing, index_folder, running_candidate
from benchmarks.search_data import DIMENSIONS, SearchData, search_data
from deploy.planning.load import read_load
from deploy.planning.plan import Plan, make_plan
from deploy.planning.rates import known_rates

SIZE_BOUNDS, RATE_BOUNDS = (0.67, 1.5), (0.67, 2.0)

_COLLECTIONS = {"ours": "float32", "ours int8": "int8", "ours ivf-pq": "pq"}
_ROW_BYTES = 100  # of the rows here: a number as id, a number as metadata, nothing said


def main() -> int:
    """Measure, print, write ``results/planning.json``."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--rows", type=int, default=200_000)
    options.add_argument("--queries", type=int, default=1000)
    options.add_argument("--cache", type=Path, help="folder for vectors and built indexes")
    given = options.parse_args()
    data = search_data(given.rows, given.queries, given.cache)
    sizes: dict[str, Any] = {}
    for name, storage in _COLLECTIONS.items():
        build_missing(name, data, threads=2)
        planned = _plan(given.rows, storage)
        for what, measured in _measured(name, data).items():
            sizes[f"{storage} {what}"] = _ratio(measured, planned[what])
    rates = _rates()
    for title, found in (("storage and memory", sizes), ("rates", rates)):
        print(title)
        for name, seen in found.items():
            print(
                f"  {name:36s} measured {seen['measured']:>14,.4g}  planned {seen['planned']:>14,.4g}"
                f"  ratio {seen['ratio']:.2f}"
            )
    missed = [
        f"{name}: {seen['ratio']:.2f} of what was planned"
        for found, (least, most) in ((sizes, SIZE_BOUNDS), (rates, RATE_BOUNDS))
        for name, seen in found.items()
        if not least <= seen["ratio"] <= most
    ]
    result = {
        "rows": given.rows,
        "dimensions": DIMENSIONS,
        "sizes": sizes,
        "rates": rates,
        "bounds": {"sizes": SIZE_BOUNDS, "rates": RATE_BOUNDS},
        "missed": missed,
        "settings": {"command": f"python -m benchmarks.planning --rows {given.rows}"},
    }
    print(f"Written to {write('planning', result)}")
    for sentence in missed:
        print(f"MISSED: {sentence}")
    return 1 if missed else 0


def _plan(rows: int, storage: str) -> Plan:
    changes = {
        "items": {"per_day": {"text": rows}, "retention_days": 1, "row_bytes": _ROW_BYTES},
        "vectors": {"dimensions": DIMENSIONS, "storage": storage, "flat_rows": rows // 2},
    }
    return make_plan(read_load("laptop", None, changes))


def _measured(name: str, data: SearchData) -> dict[str, float]:
    """Bytes of the table, of its saved segments, and of a process that has searched it, with and without filters.

    An index file is mapped: its pages count as memory that a reader needs, those of the full vectors do not.
    """
    folder = index_folder(name, data)
    with running_candidate(name, data, threads=1) as candidate:
        count = min(500, len(data.queries))
        candidate.ask(count)
        candidate.ask(20, do="filter", below=100)
        held = candidate.peer.ask({"do": "memory"})
    index_bytes = sum(path.stat().st_size for path in _files(folder / ".cache") if _is_index(path))
    return {
        "table_bytes": sum(path.stat().st_size for path in _files(folder / "bench")),
        "index_bytes": index_bytes,
        "segment_bytes": sum(path.stat().st_size for path in _files(folder / ".cache")),
        "memory_bytes": index_bytes + held["anonymous_bytes"],
    }


def _files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def _is_index(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(2) == b"Iw"  # of FAISS' inverted lists


def _rates() -> dict[str, Any]:
    found = {}
    for work, by_model in known_rates().items():
        for model, rate in by_model.items():
            file, _, place = rate.source.partition(" ")
            if rate.kind == "measured" and (RESULTS / file).exists():
                found[f"{work} {model}"] = _ratio(measured_rate(file, place), rate.per_second)
    searched = RESULTS / "search_scale.json"
    if searched.exists():
        candidates = json.loads(searched.read_text("utf-8"))["candidates"]
        for name, kind in (("ours", "ivf"), ("ours int8", "ivf"), ("ours ivf-pq", "ivf_pq")):
            if name in candidates:
                seen = candidates[name]["queries_per_second"]["median"]
                found[f"search {name}"] = _ratio(seen, known_rates()["search"][kind].per_second)
    return found


def measured_rate(file: str, place: str) -> float:
    """What ``results/FILE`` holds at ``place``: names joined by dots, or ``NUMBER / names`` of the time of many."""
    numerator, _, path = place.rpartition(" / ")
    value: Any = json.loads((RESULTS / file).read_text("utf-8"))
    for name in path.split("."):
        value = value[name]
    return float(numerator) / float(value) if numerator else float(value)


def _ratio(measured: float, planned: float) -> dict[str, float]:
    return {"measured": measured, "planned": planned, "ratio": round(measured / planned, 3)}


if __name__ == "__main__":
    sys.exit(main())
