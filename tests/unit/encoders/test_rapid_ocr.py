"""What of the reader's findings is taken for text, and which way round lines are read."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from encoders.models import rapid_ocr
from encoders.models.rapid_ocr import RapidOcr

BOX = np.array([[(0, 0), (60, 0), (60, 15), (0, 15)]], dtype=np.float32)


class FakeRapidOcr:
    """RapidOCR's three stages with one finding each."""

    def __init__(
        self, boxes: Any, label: tuple[str, float] = ("0", 1.0), text: tuple[str, float] = ("A", 1)
    ) -> None:
        self.boxes, self.label, self.text = boxes, label, text

    def __call__(self, params: dict[str, Any]) -> Any:
        if params["Global.use_det"]:
            return lambda page: SimpleNamespace(boxes=self.boxes)
        if params["Global.use_cls"]:
            return lambda piece: SimpleNamespace(cls_res=[self.label])
        return lambda piece: SimpleNamespace(txts=(self.text[0],), scores=(self.text[1],))


def read(monkeypatch: pytest.MonkeyPatch, fake: FakeRapidOcr) -> Any:
    monkeypatch.setattr("rapidocr.RapidOCR", fake)
    return RapidOcr(Path("nowhere")).read(np.zeros((80, 80, 3), np.uint8))


@pytest.mark.parametrize(
    ("text", "confidence", "kept"),
    [
        ("0", 0.89, False),
        (" 8 ", 0.89, False),
        ("A", 0.9, True),
        ("EXIT", 0.5, True),
        ("EXIT", 0.49, False),
        ("  ", 1.0, False),
    ],
)
def test_noise_is_left_out(text: str, confidence: float, kept: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = read(monkeypatch, FakeRapidOcr(BOX, text=(text, confidence)))
    assert [line.text for line in lines] == ([text] if kept else [])


@pytest.mark.parametrize("boxes", [None, np.empty((0, 4, 2))])
def test_no_boxes_no_text(boxes: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    assert read(monkeypatch, FakeRapidOcr(boxes)) == ()


@pytest.mark.parametrize(
    ("label", "tall", "first"),
    [
        (("0", 1.0), False, (0, 0)),
        (("180", 1.0), False, (60, 15)),
        (("0", 1.0), True, (15, 0)),  # its top is at the picture's right
        (("180", 1.0), True, (0, 60)),
    ],
)
def test_boxes_begin_where_the_text_begins(
    label: tuple[str, float], tall: bool, first: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    standing = np.array([[(0, 0), (15, 0), (15, 60), (0, 60)]], dtype=np.float32)
    (line,) = read(monkeypatch, FakeRapidOcr(standing if tall else BOX, label))
    assert line.box[0] == first
    sides = [np.subtract(line.box[index - 3], line.box[index]) for index in range(4)]
    turns = [a[0] * b[1] - a[1] * b[0] for a, b in zip(sides, sides[1:] + sides[:1], strict=True)]
    assert min(turns) > 0  # clockwise, as y grows downwards


def test_doubtful_lines_go_with_the_page() -> None:
    boxes = np.concatenate([BOX] * 4)
    wide = np.zeros(4, dtype=bool)
    doubtful_and_sure = rapid_ocr._turned(boxes, wide, [0.98, 0.95, 0.49, 0.05])
    assert doubtful_and_sure.tolist() == [True, True, True, False]
    assert rapid_ocr._turned(boxes, wide, [0.02, 0.05, 0.76, 0.95]).tolist() == [False, False, False, True]


def test_lines_on_their_side_are_judged_apart_from_the_others() -> None:
    tall = np.array([False, False, True])
    turned = rapid_ocr._turned(np.concatenate([BOX] * 3), tall, [0.02, 0.6, 0.6])
    assert turned.tolist() == [False, False, True]
