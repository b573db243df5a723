"""Bulk ingest of photos, from JPEG bytes to searchable rows, beside a bare loop with the same model.

``python -m benchmarks.bulk_ingest [ROUNDS [PHOTOS]]``. The platform's whole pipeline runs in this process, without
Ray: hashing, looking for known contents, storing with fsync, decoding in sandbox processes, encoding, keeping the
labels, writing the rows, records and commits included. The photos are those of ``../shared/data/photos/coco``, over
and over, each with a few bytes of its own at the end, so that none is a duplicate; one in a hundred is cut off or
is no picture. The bare loop decodes the same good photos with Pillow, 32 at a time, and calls the model: it stores
and writes nothing. Both turn about in every round, in a store and a collection of their own.

The exit code is 1 when the pipeline has less than 0.9 of the loop's rate, or less than 99.97 % of the good photos
arrive.
"""

from __future__ import annotations

import asyncio
import io
import secrets
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import numpy as np

from benchmarks import plots, report
from benchmarks.ingest import BATCH, decode
from benchmarks.retrieval import SHARED, models_dir
from encoders import registry
from encoders.config import EncoderConfig
from encoders.models import efficientnet_lite
from encoders.types import Quality
from search.config import SearchConfig
from serving.catalogue import ModelCatalogue
from serving.config import ChatModel, GatewayConfig
from serving.deployments.perception import PerceptionDeployment
from serving.deployments.search import SearchDeployment
from serving.fetch import MediaFetcher
from serving.ingest.config import IngestConfig
from serving.ingest.ingester import Ingester
from serving.ingest.items import IngestOptions, Item, Outcome
from serving.ingest.statistics import IngestStatistics
from serving.limits.stored import StoredBytes
from serving.limits.windows import LocalCounts
from serving.media_vectors import gate_of
from serving.metrics import GatewayMetrics
from serving.moderation.gate import ModerationGate
from serving.moderation.scoring import Scoring
from serving.perceiver import Perceiver
from serving.tenant_settings import SameForAll, TenantSettings
from storage.assembly import open_storage
from storage.config import StorageConfig

__all__ = ["main"]

ROUNDS, PHOTOS = 5, 1020
BAD_EVERY = 100
GOAL_RATIO, GOAL_SUCCESS, GOAL_PER_SECOND = 0.9, 0.9997, 11.34


class House:
    """The gateway's parts that ingest needs, over a folder. The models are loaded once, for all rounds."""

    def __init__(self, folder: Path, perception: PerceptionDeployment, search: SearchDeployment) -> None:
        self.storage = open_storage(StorageConfig(folder / "objects", folder / "spool"), bytes(16))
        vision, speech, text, ocr = (
            registry.find(name, models_dir())
            for name in ("efficientnet-lite2", "whisper-base", "all-minilm-l6-v2", "rapidocr")
        )
        config = GatewayConfig(
            ChatModel("none", 2048, None), vision, speech, text, ocr, cache_secret=bytes(16)
        )
        self.search = search
        catalogue, metrics = ModelCatalogue(config), GatewayMetrics()
        perceiver = Perceiver(
            perception,
            self.storage.derived,
            self.storage.vectors,
            catalogue,
            config,
            metrics,
        )
        scoring = Scoring(perception, perceiver.tasks, catalogue, config)
        tenants = SameForAll(TenantSettings())
        moderation = ModerationGate(tenants, scoring, perceiver, metrics.registry)
        self.ingester = Ingester(
            self.storage.media,
            search,
            perceiver,
            gate_of(config),
            MediaFetcher(config.limits),
            config.limits,
            IngestConfig(),
            moderation,
            StoredBytes(tenants, LocalCounts(), self.storage.objects),
        )

    async def ingest(self, collection: str, photos: Sequence[bytes]) -> list[Outcome]:
        """All photos, as a job would."""
        outcomes: list[Outcome] = []

        async def items() -> AsyncIterator[Item]:
            for number, data in enumerate(photos):
                yield Item(
                    number,
                    upload=lambda data=data: io.BytesIO(data),  # type: ignore[misc]  # mypy knows no types of such defaults
                    document_id=f"photo-{number}",
                    filename=f"{number}.jpg",
                )

        async def note(ended: Sequence[Outcome]) -> None:
            outcomes.extend(ended)

        await self.ingester.run("default", collection, items(), IngestOptions(ocr="off", min_side=32), note)
        return outcomes


def photos_of(count: int, salt: bytes) -> tuple[list[bytes], set[int]]:
    """``count`` photos of their own bytes, and which of them are bad: cut off, or noise."""
    files = [path.read_bytes() for path in sorted((SHARED / "images").glob("*.jpg"))]
    photos = [files[number % len(files)] + salt + number.to_bytes(4, "big") for number in range(count)]
    bad = set(range(BAD_EVERY // 2, count, BAD_EVERY))
    for turn, number in enumerate(sorted(bad)):
        photos[number] = (photos[number][:200] if turn % 2 else secrets.token_bytes(5000)) + salt
    return photos, bad


async def main() -> int:
    """Measure, write the result, and say whether the goals are met."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else ROUNDS
    count = int(sys.argv[2]) if len(sys.argv) > 2 else PHOTOS
    encoders = EncoderConfig(models_dir())
    model = efficientnet_lite.load(efficientnet_lite.SPEC, encoders)

    def bare_loop(photos: Sequence[bytes]) -> None:
        for start in range(0, len(photos), BATCH):
            model.encode([decode(one) for one in photos[start : start + BATCH]], Quality.FAST)

    rates: dict[str, list[float]] = {"bulk ingest": [], "bare loop, 32 at a time": []}
    good = succeeded = bad_refused = bad_all = 0
    statistics: list[dict[str, float | int]] = []
    with tempfile.TemporaryDirectory(dir=models_dir().parent) as folder:
        root = Path(folder)
        perception = PerceptionDeployment(encoders, StorageConfig(root / "objects", root / "spool"))
        search = SearchDeployment(SearchConfig(root / "collections", model=""))
        house = House(root, perception, search)
        try:
            await house.ingest("warm", photos_of(64, secrets.token_bytes(8))[0])
            for turn in range(rounds):
                photos, bad = photos_of(count, secrets.token_bytes(8))
                begun = time.perf_counter()
                outcomes = await house.ingest(f"round{turn}", photos)
                seconds = time.perf_counter() - begun
                indexed = {one.number for one in outcomes if one.status == "indexed"}
                rates["bulk ingest"].append(len(indexed) / seconds)
                good += count - len(bad)
                succeeded += len(indexed - bad)
                bad_all += len(bad)
                bad_refused += len(bad - indexed)
                counted = IngestStatistics()
                counted.count(outcomes)
                statistics.append(counted.final(seconds))
                fine = [photo for number, photo in enumerate(photos) if number not in bad]
                begun = time.perf_counter()
                await asyncio.to_thread(bare_loop, fine)
                rates["bare loop, 32 at a time"].append(len(fine) / (time.perf_counter() - begun))
                print({name: round(values[-1], 1) for name, values in rates.items()}, statistics[-1])
        finally:
            await perception.aclose()
            await house.storage.aclose()

    ratio = report.ratios(rates["bulk ingest"], rates["bare loop, 32 at a time"])
    success = succeeded / good
    met = {
        "ratio": ratio["median"] >= GOAL_RATIO,
        "success": success >= GOAL_SUCCESS,
        "images_per_second": float(np.median(rates["bulk ingest"])) >= GOAL_PER_SECOND,
    }
    document = {
        "photos": count,
        "bad": bad_all // rounds,
        "images_per_second": {name: report.summary(values) for name, values in rates.items()},
        "over_bare_loop": ratio,
        "success_of_good": round(success, 6),
        "good": good,
        "bad_refused": bad_refused,
        "statistics": statistics,
        "goal": {"ratio": GOAL_RATIO, "success": GOAL_SUCCESS, "images_per_second": GOAL_PER_SECOND},
        "met": met,
    }
    report.write("bulk_ingest", document)
    series = {name: (float(np.median(values)), min(values), max(values)) for name, values in rates.items()}
    goal = GOAL_RATIO * float(np.median(rates["bare loop, 32 at a time"]))
    plots.bars("bulk_ingest", "Photos into a searchable collection", "photos per second", series, goal)
    print(
        f"ratio {ratio}, {succeeded} of {good} good photos, {bad_refused} of {bad_all} bad ones refused, {met}"
    )
    return 0 if all(met.values()) else 1


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
