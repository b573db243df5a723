"""Photos from JPEG bytes to vectors: the platform's way beside bare loops in the same process with the same model.

``python -m benchmarks.ingest [ROUNDS]``. The platform decodes in its sandbox processes, gathers batches and
answers each picture by itself; 64 clients wait at a time. The bare loops decode with Pillow and call the model, a
picture at a time or 32 at a time (which gives all of the model's threads work). "Model only" is 32 at a time on
pictures decoded before. Rounds alternate. The exit code is 1 when the platform is slower than 0.95 of the faster
loop, or than 5 x 11.34 pictures a second, the published figure.
"""

from __future__ import annotations

import asyncio
import io
import sys
import time
from collections.abc import Awaitable, Callable, Sequence

import numpy as np
from PIL import Image

from benchmarks import plots, report
from benchmarks.retrieval import SHARED, models_dir
from encoders.batching.micro_batcher import MicroBatcher
from encoders.config import EncoderConfig
from encoders.decoding.sandbox import MediaDecoder
from encoders.models import efficientnet_lite
from encoders.types import EncodedImage, Pixels, Quality

PHOTOS, CLIENTS, BATCH = 204, 64, 32
GOAL_RATIO, GOAL_PER_SECOND = 0.95, 5 * 11.34
ROUNDS = 7


async def main() -> int:
    """Measure, write the result, and say whether the goals are met."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else ROUNDS
    files = [path.read_bytes() for path in sorted((SHARED / "images").glob("*.jpg"))]
    jpegs = [files[index % len(files)] for index in range(PHOTOS)]
    config = EncoderConfig(models_dir())
    model = efficientnet_lite.load(efficientnet_lite.SPEC, config)
    side = int(efficientnet_lite.SPEC.extra["side_pixels"])
    decoder = MediaDecoder(config.limits, workers=config.decoder_processes)
    batchers = {
        quality: MicroBatcher[Pixels, EncodedImage](model.at(quality), config.vision_batches)
        for quality in Quality
    }
    decoded = [decode(data) for data in jpegs]

    async def platform(quality: Quality) -> None:
        waiting = asyncio.Semaphore(CLIENTS)

        async def one(data: bytes) -> None:
            async with waiting:
                image = await decoder.image(data, side)
                await batchers[quality].submit((image.pixels,))

        await asyncio.gather(*(one(data) for data in jpegs))

    async def in_batches(quality: Quality, photos: Sequence[bytes] | Sequence[Pixels]) -> None:
        for start in range(0, PHOTOS, BATCH):
            some = photos[start : start + BATCH]
            model.encode([one if isinstance(one, np.ndarray) else decode(one) for one in some], quality)

    async def one_by_one() -> None:
        for data in jpegs:
            model.encode([decode(data)], Quality.FAST)

    ways: dict[str, Callable[[], Awaitable[None]]] = {
        "platform": lambda: platform(Quality.FAST),
        "bare loop, 32 at a time": lambda: in_batches(Quality.FAST, jpegs),
        "bare loop, one at a time": one_by_one,
        "model only": lambda: in_batches(Quality.FAST, decoded),
        "platform, best": lambda: platform(Quality.BEST),
        "bare loop, best": lambda: in_batches(Quality.BEST, jpegs),
    }
    rates: dict[str, list[float]] = {name: [] for name in ways}
    try:
        await platform(Quality.FAST)  # the processes start
        for _ in range(rounds):
            for name, way in ways.items():
                begun = time.perf_counter()
                await way()
                rates[name].append(PHOTOS / (time.perf_counter() - begun))
    finally:
        for batcher in batchers.values():
            await batcher.aclose()
        await decoder.aclose()

    ours = rates["platform"]
    better = max(
        ("bare loop, 32 at a time", "bare loop, one at a time"), key=lambda name: np.median(rates[name])
    )
    over = {
        name: report.ratios(ours, rates[name])
        for name in ("bare loop, 32 at a time", "bare loop, one at a time", "model only")
    }
    document = {
        "photos": PHOTOS,
        "images_per_second": {name: report.summary(values) for name, values in rates.items()},
        "platform_over": over,
        "best_over_bare_loop": report.ratios(rates["platform, best"], rates["bare loop, best"]),
        "better_loop": better,
        "goal": {"ratio": GOAL_RATIO, "images_per_second": round(GOAL_PER_SECOND, 1)},
    }
    met = {
        "ratio": over[better]["median"] >= GOAL_RATIO,
        "images_per_second": float(np.median(ours)) >= GOAL_PER_SECOND,
    }
    report.write("ingest", {**document, "met": met})
    series = {name: (float(np.median(values)), min(values), max(values)) for name, values in rates.items()}
    plots.bars("ingest", "Photos from JPEG bytes to vectors", "photos per second", series, GOAL_PER_SECOND)
    for name, values in rates.items():
        print(f"{name:26s} {np.median(values):6.1f} a second")
    print(over, document["best_over_bare_loop"], met)
    return 0 if all(met.values()) else 1


def decode(data: bytes) -> Pixels:
    """As a plain script would."""
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
