"""Input files of batches, and what their output files hold."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import httpx2

from serving.batches.config import BatchConfig

if TYPE_CHECKING:
    from fake_platform import Platform

__all__ = ["FAST", "answering_began", "batch_line", "created", "ended", "lines_of_file", "uploaded"]

CHAT, EMBEDDINGS = "/v1/chat/completions", "/v1/embeddings"
_ENDED = ("completed", "failed", "expired", "cancelled")
FAST = BatchConfig(
    max_requests=20,
    max_errors=5,
    max_unfinished=3,
    checkpoint_seconds=0.02,
    first_delay_seconds=0.001,
    max_delay_seconds=0.002,
    attempts=4,
    poll_seconds=0.05,
    lease_seconds=1.0,
)


def batch_line(custom_id: str, url: str = EMBEDDINGS, **body: Any) -> dict[str, Any]:
    """One request of a file: of the text ``custom_id``, unless ``body`` says otherwise."""
    if url == CHAT:
        given = {
            "model": "smollm2-135m-instruct",
            "messages": [{"role": "user", "content": custom_id}],
            **body,
        }
    else:
        given = {"model": "all-minilm-l6-v2", "input": custom_id, **body}
    return {"custom_id": custom_id, "method": "POST", "url": url, "body": given}


async def uploaded(
    http: httpx2.AsyncClient, lines: Iterable[dict[str, Any]] | bytes, purpose: str = "batch"
) -> str:
    """The id of a file of these lines."""
    data = lines if isinstance(lines, bytes) else b"".join(json.dumps(one).encode() + b"\n" for one in lines)
    answer = await http.post("/v1/files", files={"file": ("requests.jsonl", data)}, data={"purpose": purpose})
    assert answer.status_code == 200, answer.text
    return str(answer.json()["id"])


async def created(
    http: httpx2.AsyncClient,
    lines: Iterable[dict[str, Any]] | bytes,
    endpoint: str = EMBEDDINGS,
    **fields: Any,
) -> dict[str, Any]:
    """A batch of these lines."""
    body = {
        "input_file_id": await uploaded(http, lines),
        "endpoint": endpoint,
        "completion_window": "24h",
        **fields,
    }
    answer = await http.post("/v1/batches", json=body)
    assert answer.status_code == 200, answer.text
    batch: dict[str, Any] = answer.json()
    return batch


async def ended(http: httpx2.AsyncClient, batch: dict[str, Any]) -> dict[str, Any]:
    """The batch, once it has ended."""
    for _ in range(1000):
        answer: dict[str, Any] = (await http.get(f"/v1/batches/{batch['id']}")).json()
        if answer["status"] in _ENDED:
            return answer
        await asyncio.sleep(0.01)
    raise AssertionError(answer)


async def lines_of_file(http: httpx2.AsyncClient, file_id: str) -> list[dict[str, Any]]:
    """What a file holds."""
    answer = await http.get(f"/v1/files/{file_id}/content")
    assert answer.status_code == 200, answer.text
    assert answer.text.endswith("\n")
    return [json.loads(line) for line in answer.text.splitlines()]


async def answering_began(platform: Platform, count: int) -> None:
    """Return once the engine was asked so often."""
    for _ in range(1000):
        if len(platform.engine.requests) >= count:
            return
        await asyncio.sleep(0.005)
    raise AssertionError("nothing was asked")
