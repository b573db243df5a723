"""A gateway that runs an ingest job is killed again and again (about 15 seconds)."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from gateway_process import INGEST, killed_again_and_again, platform_of

from serving.ingest.items import IngestOptions
from serving.ingest.pipeline import FINISHED_GROUPS

ITEMS, KILLS = 300, 4
# Encoded and not yet reported: the batch being gathered or written, the queue before it, and one for each worker.
IN_FLIGHT = INGEST.commit_rows + INGEST.group_items * (FINISHED_GROUPS + 1 + INGEST.encode_concurrency)


@pytest.mark.timeout(180)
def test_a_job_survives_kill_9_and_encodes_nothing_again_that_was_written(tmp_path: Path) -> None:
    folder, log = tmp_path / "data", tmp_path / "encoded"
    folder.mkdir()
    ingest = platform_of(folder).gateway.ingest
    entries = [{"text": f"number{number}", "id": f"t{number}"} for number in range(ITEMS)]
    entries.append({"text": "number0", "id": "twice"})
    entries.append({"file_id": "file-" + "0" * 32, "id": "missing"})
    job = ingest.begin("default", "mine", entries, IngestOptions()).job
    durable: set[str] = set()
    seen = 0
    for _ in killed_again_and_again(folder, log, KILLS, lambda: ingest.store.state(job).processed, ITEMS):
        encoded = log.read_text().splitlines()
        assert not durable & set(encoded[seen:]), "encoded again although it was written"
        seen = len(encoded)
        state = ingest.store.state(job)
        done = set(range(state.done_below)) | {
            n for first, end in state.done_above for n in range(first, end)
        }
        durable = {f"number{number}" for number in done if number < ITEMS}
    state = ingest.store.state(job)
    assert (state.status, state.attempts) == ("completed", KILLS + 1)
    assert (state.indexed, state.skipped, state.failed) == (ITEMS, 1, 1)
    counts = Counter(log.read_text().splitlines())
    assert len(counts) == ITEMS
    assert sum(counts.values()) - ITEMS <= KILLS * IN_FLIGHT
    reported = {
        outcome.document_id: outcome.code for _, _, outcome in ingest.reported("default", job.id, None, 99)
    }
    assert reported == {"twice": "duplicate", "missing": "media_not_found"}
    engine = platform_of(folder).search
    stored = engine.documents("default", "mine", tuple(f"t{number}" for number in range(ITEMS)))
    assert len(stored) == ITEMS
    assert all(len(document.rows) == 1 for document in stored)
    assert list(ingest.store.pending()) == []
