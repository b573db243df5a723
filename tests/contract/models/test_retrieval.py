"""Retrieval quality of the default vision model may not fall between releases: written figures are the floor."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from loaded_models import loaded

from benchmarks.report import RESULTS
from benchmarks.retrieval import DIRECTIONS, collection, recall, reverse_recall
from deploy.settings import load_settings
from encoders.types import Quality

_NAMES = {Quality.FAST: "fast (1 view)", Quality.BEST: "best (4 views)"}


@pytest.mark.models
@pytest.mark.parametrize("quality", list(Quality))
def test_recall_is_what_was_written_down(quality: Quality, models_dir: Path, shared_data: Path) -> None:
    """In both directions, less what other rounding on another processor may turn: two sentences of 255, one photo
    of 51.
    """
    encoders = load_settings({"models_dir": models_dir}).encoders
    written = json.loads((RESULTS / "retrieval.json").read_text("utf-8"))["recall"][_NAMES[quality]]
    photos, captions, owners = collection(shared_data / "photos/coco")
    places = np.stack([one.embedding for one in loaded(encoders.vision, models_dir).encode(photos, quality)])
    sentences = loaded(encoders.text, models_dir).embed(captions).vectors

    found: dict[str, Any] = {
        "sentences_to_photos": recall(sentences, owners, places),
        "photos_to_sentences": reverse_recall(sentences, owners, places),
    }
    slack = {"sentences_to_photos": 2.01 / len(captions), "photos_to_sentences": 1.01 / len(photos)}
    for direction in DIRECTIONS:
        for measure, floor in written[direction].items():
            assert found[direction][measure] >= floor - slack[direction], (direction, measure)


def test_recall_counts_what_it_says() -> None:
    """Three photos with two sentences each, placed by hand."""
    photos = np.eye(3, dtype=np.float32)
    owners = np.array([0, 0, 1, 1, 2, 2])
    sentences = np.array(
        [[1, 0, 0], [0.5, 0.9, 0], [0, 1, 0], [0, 1, 0.9], [1, 0.5, 0.2], [0, 0.95, 0.1]], dtype=np.float32
    )
    # Own photo first for sentences 0, 2 and 3, second for 1, third for 4, second for 5.
    assert recall(sentences, owners, photos)["retrieval_recall_at_1"] == pytest.approx(0.5)
    assert recall(sentences, owners, photos)["retrieval_recall_at_5"] == 1
    # Photo 0's best own sentence ties with a foreign one, photo 1's comes first, photo 2's comes after sentence 3.
    assert reverse_recall(sentences, owners, photos)["retrieval_recall_at_1"] == pytest.approx(0.667)
    assert reverse_recall(sentences, owners, photos)["retrieval_recall_at_5"] == 1
