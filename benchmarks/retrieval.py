"""Do sentences find photos and photos sentences: recall of the default vision model at both qualities, and of what
it was before.

``python -m benchmarks.retrieval [FOLDER]``. FOLDER holds ``captions.jsonl`` and ``images/`` as
``../shared/data/photos/coco`` does, which is the default. ``retrieval_recall_at_k`` of sentences is how often a
sentence's own photo is among the first k photos; of photos, how often one of a photo's own sentences is among the
first k sentences (Faghri et al. 2018, as image-text retrieval is usually told). The published method (ConSE: one
view, the ten most probable labels weighted by probability, a label's text "a photo of a <first name>") runs beside
on the same network. The exit code is 1 when the recall of sentences at 10 and best quality is under 0.88.
``tests/contract/models/test_retrieval.py`` holds the written figures as a floor.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from benchmarks import plots, report
from encoders.config import EncoderConfig
from encoders.models import efficientnet_lite, minilm
from encoders.types import Pixels, Quality, Vector
from encoders.vision.imagenet import class_aliases
from encoders.vision.zero_shot import prompts

SHARED = Path(__file__).resolve().parents[2] / "shared/data/photos/coco"
GOAL = 0.88
RANKS = (1, 5, 10)
DIRECTIONS = ("sentences_to_photos", "photos_to_sentences")


def main() -> int:
    """Measure, write the result, and say whether the goal is met."""
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else SHARED
    config = EncoderConfig(models_dir())
    vision = efficientnet_lite.load(efficientnet_lite.SPEC, config)
    text = minilm.load(minilm.SPEC, config)
    photos, captions, owners = collection(folder)
    queries = text.embed(captions).vectors
    names = text.embed(prompts([aliases[0] for aliases in class_aliases()])).vectors

    def published(images: Sequence[Pixels]) -> Vector:
        fast = vision.at(Quality.FAST)
        probabilities = fast.classify(fast.prepare(images))
        ordered = -np.sort(-probabilities, axis=1)
        kept = np.where(probabilities >= ordered[:, 9:10], probabilities, 0)
        return normalised(kept @ names)

    def ours(quality: Quality) -> Callable[[Sequence[Pixels]], Vector]:
        return lambda images: np.stack([one.embedding for one in vision.encode(images, quality)])

    result: dict[str, dict[str, Any]] = {}
    for name, encode in {
        "ConSE as published": published,
        "fast (1 view)": ours(Quality.FAST),
        "best (4 views)": ours(Quality.BEST),
    }.items():
        begun = time.perf_counter()
        vectors = encode(photos)
        seconds = time.perf_counter() - begun
        result[name] = {
            "sentences_to_photos": recall(queries, owners, vectors),
            "photos_to_sentences": reverse_recall(queries, owners, vectors),
            "milliseconds_per_photo": round(1000 * seconds / len(photos), 1),
        }
        for direction in DIRECTIONS:
            print(f"{name}, {direction}: {result[name][direction]}")
    met = result["best (4 views)"]["sentences_to_photos"]["retrieval_recall_at_10"] >= GOAL
    if folder == SHARED:
        document = {
            "photos": len(photos),
            "captions": len(captions),
            "recall": result,
            "goal": GOAL,
            "met": met,
        }
        report.write("retrieval", document)
        series = {
            f"{name}, {direction.replace('_', ' ')}, recall@{rank}": (value, value, value)
            for name, found in result.items()
            for direction in DIRECTIONS
            for rank in RANKS
            for value in [found[direction][f"retrieval_recall_at_{rank}"]]
        }
        title = f"{len(captions)} sentences and {len(photos)} photos"
        plots.bars("retrieval", title, "recall", series, goal=GOAL)
    return 0 if met else 1


def models_dir() -> Path:
    """Where prepared models lie."""
    return Path(os.environ.get("MANYMODAL_MODELS_DIR") or Path.home() / ".cache/manymodal/models")


def collection(folder: Path) -> tuple[list[Pixels], tuple[str, ...], np.ndarray]:
    """Photos, all captions, and for each caption the index of its photo."""
    rows = [json.loads(line) for line in (folder / "captions.jsonl").read_text("utf-8").splitlines()]
    photos = [np.asarray(Image.open(folder / "images" / row["file"]).convert("RGB")) for row in rows]
    owners = [index for index, row in enumerate(rows) for _ in row["captions"]]
    return photos, tuple(caption for row in rows for caption in row["captions"]), np.array(owners)


def recall(queries: Vector, owners: np.ndarray, photos: Vector) -> dict[str, float]:
    """How often a caption's own photo is among the first k."""
    scores = queries @ photos.T
    own = scores[np.arange(len(owners)), owners]
    better = (scores > own[:, None]).sum(axis=1)
    return {f"retrieval_recall_at_{rank}": round(float((better < rank).mean()), 3) for rank in RANKS}


def reverse_recall(captions: Vector, owners: np.ndarray, photos: Vector) -> dict[str, float]:
    """How often one of a photo's own captions is among the first k."""
    scores = photos @ captions.T
    own = owners[None, :] == np.arange(len(photos))[:, None]
    best_own = np.where(own, scores, -np.inf).max(axis=1)
    better = ((scores > best_own[:, None]) & ~own).sum(axis=1)
    return {f"retrieval_recall_at_{rank}": round(float((better < rank).mean()), 3) for rank in RANKS}


def normalised(vectors: Vector) -> Vector:
    """Rows of norm 1."""
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), dtype=np.float32)


if __name__ == "__main__":
    sys.exit(main())
