"""Adding, deleting and searching at once, by two engines, for a minute: no crash, and nobody is shown less than
what a version promised. Takes 60 seconds on local files and 15 on S3.
"""

from __future__ import annotations

import logging
import secrets
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
from search_worker import document

from search.config import SearchConfig
from search.engine import SearchEngine
from search.types import Query

SECONDS = {"local": 60.0, "s3": 15.0}
NAMES = 40


@pytest.mark.timeout(300)
def test_adding_deleting_and_searching_for_a_minute(config: SearchConfig) -> None:
    seed = secrets.randbits(32)
    logging.warning("seed %d", seed)
    config = replace(config, flat_rows=200)  # large indexes are built all the while
    engines = (SearchEngine(config), SearchEngine(config))
    engines[0].add("t", "default", document("always", 1))
    ends = time.monotonic() + SECONDS["local" if config.s3 is None else "s3"]
    vector = np.ones(4, np.float32)
    counts: dict[str, int] = {}

    def found(engine: SearchEngine, **query: object) -> dict[str, int]:
        answer = engine.search("t", "default", Query(vector, top_k=1000, **query))
        assert query.get("min_version") is None or answer.version >= query["min_version"]
        for hit in answer.hits:
            assert len(hit.parts) == 1 + int(hit.text) % 3  # never half a document
        return {hit.document_id: int(hit.text) for hit in answer.hits}

    def write(who: int) -> None:
        """Whoever writes a document is its only writer: what they know of it holds for every search after it."""
        chance = np.random.default_rng((seed, who))
        mine: dict[str, int] = {}
        while time.monotonic() < ends:
            engine, other = engines[who % 2], engines[chance.integers(2)]
            name = f"w{who}-{chance.integers(NAMES)}"
            if chance.random() < 0.3:
                version = engine.delete("t", "default", name)
                mine.pop(name, None)
            else:
                token = int(chance.integers(1 << 40))
                version = engine.add("t", "default", document(name, token))
                mine[name] = token
            seen = found(other, min_version=version)
            assert {name: token for name, token in seen.items() if name.startswith(f"w{who}-")} == mine
            counts["write"] = counts.get("write", 0) + 1

    def search(who: int) -> None:
        engine = engines[who % 2]
        while time.monotonic() < ends:
            assert found(engine)["always"] == 1
            hits = engine.search("t", "default", Query(text="1")).hits
            assert [hit.document_id for hit in hits] == ["always"]
            counts["search"] = counts.get("search", 0) + 1

    def keep_up(_: int) -> None:
        while time.monotonic() < ends:
            engines[0].opened("t", "default").table.maintain()
            engines[1].vacuum()
            time.sleep(0.5)

    works: list[tuple[Callable[[int], None], int]] = [(write, 0), (write, 1), (write, 2)]
    works += [(search, 0), (search, 1), (keep_up, 0)]
    with ThreadPoolExecutor(len(works)) as pool:
        for done in [pool.submit(work, who) for work, who in works]:
            done.result(timeout=200)
    logging.warning("%s", counts)
    for engine in engines:
        engine.close()
    fresh = found(SearchEngine(config))
    assert fresh == found(engines[0]) == found(engines[1])
    assert min(counts.values()) > 30
