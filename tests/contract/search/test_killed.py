"""kill -9 of writing and of searching processes, again and again: what was acknowledged is there, once, and nothing
that was deleted comes back. Takes about a minute.
"""

from __future__ import annotations

import itertools
import logging
import os
import secrets
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
import search_worker
from doomed_workers import started, worker_server
from search_worker import TENANT, digest, document

from search.config import SearchConfig
from search.engine import SearchEngine
from search.location import SearchLocation
from search.table import RowTable, new_session

ROUNDS = {"local": 100, "s3": 10}
_REQUESTS_END_SECONDS = 0.05  # what a dead writer has sent, an S3 server may still do


@pytest.fixture
def config(config: SearchConfig) -> SearchConfig:
    """Large indexes are built and saved from a few rows on."""
    return replace(config, flat_rows=64)


@pytest.fixture
def server(config: SearchConfig) -> Iterator[subprocess.Popen[str]]:
    # Standard error goes nowhere: Lance warns of every lost race.
    with worker_server("search_worker.py", search_worker.line_of(config), subprocess.DEVNULL) as process:
        yield process


class Model:
    """What the writers said: documents and their tokens, and what was begun and not acknowledged."""

    def __init__(self) -> None:
        self.stored: dict[str, int] = {}
        self.begun: dict[str, int | None] = {}
        self.acknowledged = 0

    def heard(self, words: list[str]) -> None:
        match words:
            case ["adding", name, token]:
                self.begun[name] = int(token)
            case ["deleting", name]:
                self.begun[name] = None
            case ["added", name, token]:
                assert self.begun.pop(name) == int(token)
                self.stored[name] = int(token)
                self.acknowledged += 1
            case ["deleted", name]:
                assert self.begun.pop(name) is None
                self.stored.pop(name, None)
                self.acknowledged += 1
            case _:
                raise AssertionError(words)

    def check(self, found: dict[str, int]) -> None:
        """Everything acknowledged, nothing else; of what was begun either is right, and stays so."""
        for name, token in self.begun.items():
            assert found.get(name) in (token, self.stored.get(name))
            if name in found:
                self.stored[name] = found[name]
            else:
                self.stored.pop(name, None)
        self.begun.clear()
        assert found == self.stored


def documents(table: RowTable) -> dict[str, int]:
    """What a table holds, each document whole and once."""
    state = table.state()
    rows = state.read([fragment.id for fragment in state.fragments]).to_pylist()
    parts: dict[tuple[str, int], list[int]] = {}
    for row in rows:
        parts.setdefault((row["document_id"], int(row["text"])), []).append(row["ordinal"])
    assert len({name for name, _ in parts}) == len(parts)  # nothing of two states
    for (_, token), ordinals in parts.items():
        assert sorted(ordinals) == list(range(1 + token % 3))
    return dict(parts.keys())


@pytest.mark.timeout(400)
def test_nothing_acknowledged_is_lost_when_writers_are_killed(
    config: SearchConfig, server: subprocess.Popen[str]
) -> None:
    seed = secrets.randbits(32)
    logging.warning("seed %d", seed)
    chance = np.random.default_rng(seed)
    rounds = ROUNDS["local" if config.s3 is None else "s3"]
    engine = SearchEngine(config)
    place = SearchLocation(config).table(TENANT, "default")
    model = Model()
    for number in range(rounds):
        writer, said = started(server, f"writer {seed + number}")
        for words in itertools.islice(said, int(chance.integers(60))):
            model.heard(words)
        time.sleep(chance.uniform(0, 0.01))
        os.kill(writer, signal.SIGKILL)
        for words in said:
            model.heard(words)
        if config.s3 is not None:
            time.sleep(_REQUESTS_END_SECONDS)
        table = RowTable.open(place, new_session())
        if table is None:  # killed before there was a collection
            assert not model.stored
            model.begun.clear()
            continue
        model.check(documents(table))
        hits = engine.search(
            TENANT,
            "default",
            search_worker.Query(np.ones(4, np.float32), top_k=1000, min_version=table.latest_version()),
        ).hits
        assert {hit.document_id: int(hit.text) for hit in hits} == model.stored
    assert model.acknowledged > 3 * rounds
    logging.warning("%d writes acknowledged, version %d", model.acknowledged, table.latest_version())
    table.vacuum()
    model.check(documents(table))
    for name in list(model.stored):  # what is there is found by its id, too
        engine.delete(TENANT, "default", name)
    assert documents(table) == {}


@pytest.mark.timeout(400)
def test_readers_are_killed_during_ingest_and_the_next_one_answers_right(
    config: SearchConfig, server: subprocess.Popen[str]
) -> None:
    seed = secrets.randbits(32)
    logging.warning("seed %d", seed)
    chance = np.random.default_rng(seed)
    engine = SearchEngine(config)
    stored: dict[str, int] = {}
    states: dict[int, str] = {}

    def ingest() -> int:
        name, token = f"d{chance.integers(300)}", int(chance.integers(1 << 40))
        if chance.random() < 0.2:
            version = engine.delete(TENANT, "default", name)
            stored.pop(name, None)
        else:
            version = engine.add(TENANT, "default", document(name, token))
            stored[name] = token
        states[version] = digest(stored.items())
        return version

    def check(words: list[str]) -> None:
        kind, version, _, found, whole = words
        assert (kind, whole) == ("found", "True"), words
        # Compaction makes versions of its own, which hold what the one before held.
        assert found == states[max(known for known in states if known <= int(version))]

    engine.add(TENANT, "default", document("always", 1))
    stored["always"] = 1
    for _ in range(300):
        version = ingest()
    answers = 0
    rounds = ROUNDS["local" if config.s3 is None else "s3"]
    for _ in range(rounds):
        reader, said = started(server, f"reader {version}")
        for words in itertools.islice(said, int(chance.integers(3))):
            check(words)
            answers += 1
            version = ingest()
        time.sleep(chance.uniform(0, 0.05))
        version = ingest()
        os.kill(reader, signal.SIGKILL)
        for words in said:
            check(words)
            answers += 1
    assert answers > rounds
