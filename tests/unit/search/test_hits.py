"""Rows told as hits."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
from search_collections import DIMENSIONS, open_table

from search.hits import as_cosine
from search.types import Hit, Query, Row


def found(folder: Path, row: Row) -> Hit:
    table = open_table(folder)
    table.add([row], now=7.0)
    (hit,) = table.reader().search(Query(row.vector)).hits
    return hit


def test_a_hit_tells_what_was_stored_of_its_row(tmp_path: Path) -> None:
    vector = np.eye(DIMENSIONS, dtype=np.float32)[0]
    row = Row("d", "audio", vector, 4, 1.5, 2.5, "Zoë says \N{GRINNING FACE}", "m", {"a": [1, None, "ü"]})
    hit = found(tmp_path, row)
    assert (hit.document_id, hit.modality, hit.media_id, hit.text) == ("d", "audio", "m", row.text)
    assert (hit.metadata, hit.created_at_seconds, hit.score) == ({"a": [1, None, "ü"]}, 7.0, 1.0)
    (part,) = hit.parts
    assert (part.part_index, part.start_seconds, part.end_seconds) == (4, 1.5, 2.5)
    assert (part.text, part.score) == (row.text, 1.0)


def test_what_a_row_does_not_have_is_none(tmp_path: Path) -> None:
    hit = found(tmp_path, Row("d", "image", np.ones(DIMENSIONS, dtype=np.float32)))
    (part,) = hit.parts
    assert (hit.media_id, hit.text, hit.metadata) == (None, "", {})
    assert (part.part_index, part.start_seconds, part.end_seconds, part.text) == (0, None, None, "")


def test_hits_go_to_other_processes_and_cannot_be_changed(tmp_path: Path) -> None:
    hit = found(tmp_path, Row("d", "text", np.ones(DIMENSIONS, dtype=np.float32), text="words"))
    assert pickle.loads(pickle.dumps(hit)) == hit  # noqa: S301 - its own
    with pytest.raises(AttributeError):
        hit.score = 2.0
    with pytest.raises(AttributeError):
        hit.parts[0].score = 2.0


@pytest.mark.parametrize(
    ("score", "cosine"), [(0.25, 0.25), (1.0000001, 1.0), (-1.0000001, -1.0), (-1.0, -1.0)]
)
def test_rounding_does_not_take_cosines_past_one(score: float, cosine: float) -> None:
    assert as_cosine(score) == cosine
