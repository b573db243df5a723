"""Processes that write to a collection or search it until they are killed, and the warm server that forks them.

``python search_worker.py <SearchConfig as JSON>``: every line on standard input is a role, ``writer <seed>`` or
``reader <seed> <version>``. Standard output, in lines: ``worker <pid>``; what a writer is about to do and what it
has done, or what a reader found; ``dead``.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import threading
from collections.abc import Iterable
from dataclasses import asdict
from datetime import timedelta
from pathlib import Path

import doomed_workers
import numpy as np
from doomed_workers import say

import search.maintenance
from search.config import SearchConfig
from search.engine import SearchEngine
from search.types import Query, Row
from storage.config import S3Config

__all__ = ["DIMENSIONS", "TENANT", "THREADS", "digest", "document", "line_of"]

TENANT = "t"
DIMENSIONS = 4
THREADS = 3
_DOCUMENTS = 8


def line_of(config: SearchConfig) -> str:
    """The settings, as the command line takes them."""
    s3 = None if config.s3 is None else asdict(config.s3)
    return json.dumps({"root": str(config.root), "s3": s3, "flat_rows": config.flat_rows})


def _config(line: str) -> SearchConfig:
    given = json.loads(line)
    s3 = None if given["s3"] is None else S3Config(**given["s3"])
    return SearchConfig(Path(given["root"]), DIMENSIONS, s3=s3, flat_rows=given["flat_rows"])


def document(document_id: str, token: int) -> list[Row]:
    """A document in one of its states: as many parts as the token says, each with the token as its text."""
    vectors = np.random.default_rng(token).standard_normal((1 + token % 3, DIMENSIONS)).astype(np.float32)
    return [
        Row(document_id, "text", vector, part_index=part, text=str(token))
        for part, vector in enumerate(vectors)
    ]


def digest(found: Iterable[tuple[str, int]]) -> str:
    """Of documents and their tokens, in any order."""
    return hashlib.sha256(repr(sorted(found)).encode()).hexdigest()


def write_until_killed(config: SearchConfig, seed: int) -> None:
    """Threads that add, replace and delete documents of their own, each write acknowledged once it is done, while
    the table is compacted, indexed and cleared of old versions.
    """
    search.maintenance._UNINDEXED_ROWS = 4
    search.maintenance._KEEP_VERSIONS = timedelta(seconds=20)
    engine = SearchEngine(config)

    def write(who: int) -> None:
        chance = np.random.default_rng((seed, who))
        while True:
            name = f"{who}-{chance.integers(_DOCUMENTS)}"
            if chance.random() < 0.3:
                say("deleting", name)
                engine.delete(TENANT, "default", name)
                say("deleted", name)
            else:
                token = int(chance.integers(1 << 40))
                say("adding", name, token)
                engine.add(TENANT, "default", document(name, token))
                say("added", name, token)
            if chance.random() < 0.05:
                engine.opened(TENANT, "default").table.maintain()
            elif chance.random() < 0.02:
                engine.vacuum()

    def write_or_say(who: int) -> None:
        try:
            write(who)
        except BaseException as error:
            say("failed", repr(error).replace(" ", "_"))
            os._exit(1)

    threads = [threading.Thread(target=write_or_say, args=(who,)) for who in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def read_until_killed(config: SearchConfig, version: int) -> None:
    """Look everything up, first of a version, then of whatever is the newest."""
    engine = SearchEngine(config)
    vector = np.ones(DIMENSIONS, np.float32)
    while True:
        answer = engine.search(TENANT, "default", Query(vector, top_k=1000, min_version=version))
        found = [(hit.document_id, int(hit.text)) for hit in answer.hits]
        parts = all(len(hit.parts) == 1 + int(hit.text) % 3 for hit in answer.hits)
        say("found", answer.version, len(found), digest(found), parts)
        engine.opened(TENANT, "default").reader.build_now()


def work_until_killed(config: SearchConfig, order: str) -> None:
    """In the role, and with the numbers, of a line."""
    role, *numbers = order.split()
    if role == "writer":
        write_until_killed(config, int(numbers[0]))
    else:
        read_until_killed(config, int(numbers[0]))


if __name__ == "__main__":
    settings = _config(sys.argv[1])
    doomed_workers.serve(lambda order: work_until_killed(settings, order))
