"""A gateway that runs a batch is killed again and again (about 10 seconds)."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from batch_files import batch_line, created, lines_of_file
from fake_platform import http_client
from gateway_process import BATCHES, killed_again_and_again, platform_of

REQUESTS, KILLS = 90, 2
# Answered and in no entry of the log: what had gathered for the next one while that was written, and what each
# worker had under way.
IN_FLIGHT = 2 * BATCHES.checkpoint_answers + BATCHES.workers


@pytest.mark.timeout(180)
def test_every_request_is_in_the_files_once_whatever_is_killed_in_the_middle(tmp_path: Path) -> None:
    folder, log = tmp_path / "data", tmp_path / "encoded"
    folder.mkdir()
    log.touch()
    names = [f"number{number}" for number in range(REQUESTS)]
    platform = platform_of(folder)

    async def begun() -> dict[str, Any]:
        async with http_client(platform) as http:
            lines = [batch_line(name) for name in names]
            lines[7]["body"]["input"] = {"not": "text"}
            batch = await created(http, lines)
        await platform.gateway.batches.runner.aclose()
        return batch

    batch_id = asyncio.run(begun())["id"]
    store = platform.gateway.batches.store
    batch = store.get("default", batch_id)
    for _ in killed_again_and_again(folder, log, KILLS, lambda: store.state(batch).completed, REQUESTS):
        pass

    async def results() -> tuple[dict[str, Any], list[dict[str, Any]], list[dict[str, Any]], list[str]]:
        async with http_client(platform_of(folder)) as http:
            answer = (await http.get(f"/v1/batches/{batch_id}")).json()
            good = await lines_of_file(http, answer["output_file_id"])
            bad = await lines_of_file(http, answer["error_file_id"])
            files = (await http.get("/v1/files")).json()["data"]
            return answer, good, bad, [one["purpose"] for one in files]

    answer, good, bad, purposes = asyncio.run(results())
    assert answer["status"] == "completed"
    assert answer["request_counts"] == {"total": REQUESTS, "completed": REQUESTS - 1, "failed": 1}
    assert [one["custom_id"] for one in bad] == ["number7"]
    assert sorted(one["custom_id"] for one in good) == sorted(set(names) - {"number7"})
    assert len({one["id"] for one in [*good, *bad]}) == REQUESTS
    assert sorted(purposes) == ["batch", "batch_output", "batch_output"]
    encoded = Counter(log.read_text().splitlines())
    assert encoded.keys() == set(names) - {"number7"}
    assert encoded.total() - len(encoded) <= KILLS * IN_FLIGHT
    assert list(store.unfinished()) == []
