"""Batches on a real S3 server, of two gateways."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

from batch_files import batch_line, created, ended, lines_of_file
from fake_platform import build_platform, http_client
from gateway_process import BATCHES
from s3_server import S3Server
from served_models import served_models

from encoders.types import Embeddings
from serving.config import ChatModel, GatewayConfig
from storage.s3.store import S3ObjectStore


async def test_one_gateway_answers_what_the_other_was_given_and_is_told_to_stop(
    s3_server: S3Server, tmp_path: Path
) -> None:
    objects = S3ObjectStore(s3_server.config)
    settings = replace(BATCHES, lease_seconds=5.0)
    model = ChatModel("m", 2048, None)
    config = GatewayConfig(model, *served_models(), cache_secret=bytes(16), batches=settings)
    platforms = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        platforms.append(build_platform(tmp_path / name, config, objects))
    first, second = platforms
    embed = first.perception.embed_texts
    stalled = asyncio.Event()

    async def embed_some(texts: tuple[str, ...]) -> Embeddings:
        if texts[0].startswith("late"):
            stalled.set()
            await asyncio.Event().wait()
        return await embed(texts)

    first.perception.embed_texts = embed_some
    early = [f"early{number}" for number in range(20)]
    late = [f"late{number}" for number in range(10)]
    async with http_client(first) as http, http_client(second) as other:
        whole = await ended(http, await created(http, [batch_line(name) for name in early]))
        assert (whole["status"], whole["request_counts"]["completed"]) == ("completed", 20)
        batch = await created(http, [batch_line(name) for name in [*early, *late]])
        async with asyncio.timeout(30):
            await stalled.wait()
        assert (await other.post(f"/v1/batches/{batch['id']}/cancel")).json()["status"] == "cancelling"
        batch = await ended(other, batch)
        assert batch["status"] == "cancelled"
        good = await lines_of_file(other, batch["output_file_id"])
        bad = await lines_of_file(other, batch["error_file_id"])
        assert sorted(one["custom_id"] for one in good) == sorted(early)
        assert sorted(one["custom_id"] for one in bad) == sorted(late)
        listed = (await other.get("/v1/batches")).json()["data"]
        assert [one["id"] for one in listed] == [batch["id"], whole["id"]]
        await first.gateway.batches.runner.idle()
        assert await second.gateway.batches.forget_tenant("default") == 2
        assert [info.key for info in objects.list("batch")] == []
    for platform in platforms:
        await platform.gateway.batches.runner.aclose()
