"""Search over HTTP: one query among 10,000 vectors of 512 numbers, scanned exactly; how soon a document is found.

``python -m benchmarks.search_http [--ray]``. The real application, encoders and search run in a process of their
own on uvicorn, or, with ``--ray``, the whole platform does (``manymodal serve``). One client on one connection asks
for the ten nearest of vectors that it drew (``benchmarks.search_data``), and every answer is held against NumPy's.
Documents (a vector, a text, a photo that is uploaded first) are posted one at a time; the time runs from the first
byte sent until a search finds it, once with the ``min_version`` that the post returned, once without.
Goals: p99 of a query < 10 ms, p95 from ingest to searchable < 1 s. Exit code 1 when the median of the rounds
misses one.
"""

from __future__ import annotations

import argparse
import asyncio
import io
import json
import sys
import tempfile
import time
import zlib
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp
import numpy as np
from PIL import Image

from benchmarks.chat import platform_command
from benchmarks.plots import bars
from benchmarks.report import RESULTS, summary, write
from benchmarks.retrieval import SHARED, models_dir
from benchmarks.search_data import DIMENSIONS, TOP_K, Vectors, draw
from benchmarks.servers import module, server
from benchmarks.text import captions
from deploy.ports import free_port
from deploy.settings import Settings, load_settings
from search.engine import SearchEngine
from search.types import CollectionSpec, Row, SpaceSpec

ROWS = 10_000
QUERY_GOAL_MILLISECONDS, SEARCHABLE_GOAL_SECONDS = 10.0, 1.0
_TENANT, _COLLECTION = "default", "vectors"
_WAIT_SECONDS = 30.0

Find = Callable[[dict[str, Any]], Awaitable[dict[str, Any]]]


def main() -> int:
    """Measure, print, write ``results/search_http.json`` (``search_http_ray.json``)."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--ray", action="store_true", help="measure `manymodal serve`")
    options.add_argument("--rounds", type=int, default=7)
    options.add_argument("--queries", type=int, default=500, help="of each round")
    options.add_argument("--documents", type=int, default=20, help="of each kind, of each round")
    given = options.parse_args()
    vectors, queries = draw(ROWS, given.rounds * given.queries)
    with tempfile.TemporaryDirectory(prefix="manymodal-bench-") as folder:
        settings = load_settings(
            {"port": free_port(), "data_dir": Path(folder) / "data", "models_dir": models_dir()}
        )
        _fill(settings, vectors)
        command = (
            platform_command(settings)
            if given.ray
            else module("benchmarks.search_http_server", str(settings.port), str(settings.data_dir))
        )
        base_url = f"http://127.0.0.1:{settings.port}"
        with server(command, base_url, "/ready", Path(folder) / "log") as running:
            measured = asyncio.run(_measure(base_url, vectors, queries, given))
        measured["start_seconds"] = round(running.start_seconds, 1)
    return _tell(measured, given)


def _fill(settings: Settings, vectors: Vectors) -> None:
    """Through the engine: adding 10,000 documents one by one is not what is measured."""
    engine = SearchEngine(settings.search_config())
    engine.create(_TENANT, _COLLECTION, CollectionSpec((SpaceSpec("default", DIMENSIONS),)))
    rows = [Row(str(number), "image", vector) for number, vector in enumerate(vectors)]
    engine.add(_TENANT, _COLLECTION, rows)
    engine.close()


async def _measure(
    base_url: str, vectors: Vectors, queries: Vectors, given: argparse.Namespace
) -> dict[str, Any]:
    rounds: dict[str, list[float]] = {}
    scores = queries @ vectors.T
    truth = np.argsort(-scores, axis=1)[:, :TOP_K]
    wrong = 0
    async with aiohttp.ClientSession(base_url, timeout=aiohttp.ClientTimeout(total=120)) as session:
        await _queries(session, queries[:50], truth[:50])
        for number in range(given.rounds):
            part = slice(number * given.queries, (number + 1) * given.queries)
            milliseconds, different = await _queries(session, queries[part], truth[part])
            wrong += different
            floor = await _floor(session, given.queries)
            _note(rounds, "query", milliseconds, (50, 99))
            _note(rounds, "GET /health", floor, (50, 99))
            for kind in ("vector", "text", "photo"):
                for how in ("min_version", "plain"):
                    seconds = [
                        await _until_found(session, kind, how, f"{number}-{count}")
                        for count in range(given.documents)
                    ]
                    _note(rounds, f"{kind}, {how}", [1e3 * one for one in seconds], (50, 95))
            shown = ", ".join(f"{name} {values[-1]:.2f}" for name, values in rounds.items())
            print(f"round {number + 1}, ms: {shown}", flush=True)
    return {
        "milliseconds": {name: summary(values) for name, values in rounds.items()},
        "queries_with_other_hits_than_numpy": wrong,
    }


def _note(rounds: dict[str, list[float]], name: str, values: list[float], which: tuple[int, ...]) -> None:
    for percentile in which:
        rounds.setdefault(f"{name} p{percentile}", []).append(float(np.percentile(values, percentile)))


async def _queries(session: aiohttp.ClientSession, queries: Vectors, truth: Any) -> tuple[list[float], int]:
    """Milliseconds of each, and how many answers held another document than NumPy's."""
    milliseconds, different = [], 0
    for vector, expected in zip(queries, truth, strict=True):
        body = json.dumps(
            {
                "collection": _COLLECTION,
                "query": {"type": "vector", "content": vector.tolist()},
                "top_k": TOP_K,
                "search_modalities": ["image"],  # what other parts of the benchmark add are texts
            }
        ).encode()
        started = time.perf_counter()
        answer = await _post(session, "/v1/search", body)
        milliseconds.append(1e3 * (time.perf_counter() - started))
        different += {int(hit["id"]) for hit in answer["results"]} != set(expected.tolist())
    return milliseconds, different


async def _floor(session: aiohttp.ClientSession, count: int) -> list[float]:
    """What a request that does nothing takes, in milliseconds."""
    milliseconds = []
    for _ in range(count):
        started = time.perf_counter()
        async with session.get("/health") as response:
            await response.read()
        milliseconds.append(1e3 * (time.perf_counter() - started))
    return milliseconds


async def _until_found(session: aiohttp.ClientSession, kind: str, how: str, name: str) -> float:
    """Seconds from the first byte of a new document to the end of the search that finds it."""
    dice = np.random.default_rng(zlib.crc32(f"{kind} {how} {name}".encode()))
    document_id = f"{kind}-{how}-{name}"
    collection, query = "default", {"type": "text", "content": ""}
    photo = b""
    document: dict[str, Any] = {"id": document_id}
    match kind:
        case "vector":
            numbers = dice.standard_normal(DIMENSIONS).round(6).tolist()
            document |= {"vectors": {"default": numbers}, "modality": "text"}
            collection, query = _COLLECTION, {"type": "vector", "content": numbers}
        case "text":
            document["text"] = captions(1, seed=int(dice.integers(1 << 31)))[0] + f" ({name}, {how})"
            query = {"type": "text", "content": document["text"]}
        case _:
            photo = _photo(dice)
    started = time.perf_counter()
    if photo:
        form = aiohttp.FormData()
        form.add_field("file", photo, filename=f"{name}.jpg", content_type="image/jpeg")
        async with session.post("/v1/media", data=form) as response:
            response.raise_for_status()
            document["media_id"] = (await response.json())["id"]
        query = {"type": "image", "content": document["media_id"]}
    path = f"/v1/collections/{collection}/documents"
    added = await _post(session, path, json.dumps(document).encode())
    asked: dict[str, Any] = {"collection": collection, "query": query, "top_k": TOP_K}
    if how == "min_version":
        asked["min_version"] = added["version"]
    body = json.dumps(asked).encode()
    while time.perf_counter() < started + _WAIT_SECONDS:
        answer = await _post(session, "/v1/search", body)
        if any(hit["id"] == document_id for hit in answer["results"]):
            return time.perf_counter() - started
        if how == "min_version":
            raise RuntimeError(f"a search with min_version did not find the document {document_id}")
    raise RuntimeError(f"the document {document_id} was not found within {_WAIT_SECONDS:.0f} s")


def _photo(dice: np.random.Generator) -> bytes:
    """One of the shared photos (else noise), cut so that no two are the same."""
    files = sorted((SHARED / "images").glob("*.jpg"))
    if files:
        image = Image.open(files[int(dice.integers(len(files)))]).convert("RGB")
        left, top = (int(dice.integers(1, 40)) for _ in range(2))
        image = image.crop((left, top, image.width - int(dice.integers(40)), image.height))
    else:
        image = Image.fromarray(dice.integers(0, 256, (480, 640, 3), dtype=np.uint8))
    data = io.BytesIO()
    image.save(data, "JPEG", quality=88)
    return data.getvalue()


async def _post(session: aiohttp.ClientSession, path: str, body: bytes) -> dict[str, Any]:
    async with session.post(path, data=body, headers={"content-type": "application/json"}) as response:
        if response.status != 200:
            raise RuntimeError(f"{path} answered {response.status}: {(await response.text())[:300]}")
        answer: dict[str, Any] = await response.json()
        return answer


def _tell(measured: dict[str, Any], given: argparse.Namespace) -> int:
    name = "search_http_ray" if given.ray else "search_http"
    seen = measured["milliseconds"]
    missed = []
    if seen["query p99"]["median"] >= QUERY_GOAL_MILLISECONDS:
        missed.append(f"query at p99: {seen['query p99']['median']:.1f} ms")
    if measured["queries_with_other_hits_than_numpy"]:
        missed.append(f"{measured['queries_with_other_hits_than_numpy']} answers are not the exact ones")
    for label, values in seen.items():
        if label.endswith("p95") and values["median"] >= 1e3 * SEARCHABLE_GOAL_SECONDS:
            missed.append(f"ingest to searchable, {label}: {values['median']:.0f} ms")
    result = {
        "server": "manymodal serve" if given.ray else "uvicorn without Ray",
        "rows": ROWS,
        "dimensions": DIMENSIONS,
        **measured,
        "goals": {
            "query_p99_milliseconds_max": QUERY_GOAL_MILLISECONDS,
            "searchable_p95_seconds_max": SEARCHABLE_GOAL_SECONDS,
        },
        "missed": missed,
        "settings": {
            "command": "python -m benchmarks.search_http" + (" --ray" if given.ray else ""),
            "rounds": given.rounds,
            "queries": given.queries,
            "documents": given.documents,
        },
    }
    for label, values in seen.items():
        print(f"{label:28s} {values['median']:8.2f} ms ({values['min']:.2f}-{values['max']:.2f})")
    spreads = {
        label: (values["median"], values["min"], values["max"])
        for label, values in seen.items()
        if "query" in label
    }
    bars(name, "One query among 10,000 x 512 over HTTP", "milliseconds", spreads, QUERY_GOAL_MILLISECONDS)
    print(f"Written to {write(name, result)} ({RESULTS.name}/{name}.svg)")
    for sentence in missed:
        print(f"MISSED: {sentence}")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
