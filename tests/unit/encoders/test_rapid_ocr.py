"""What of the reader's findings is taken for text."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from encoders.models.rapid_ocr import RapidOcr


@pytest.mark.parametrize(
    ("text", "confidence", "kept"),
    [("0", 0.89, False), (" 8 ", 0.89, False), ("A", 0.9, True), ("EXIT", 0.5, True), ("EXIT", 0.49, False)],
)
def test_noise_is_left_out(text: str, confidence: float, kept: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    found = SimpleNamespace(boxes=[[(0, 0), (9, 0), (9, 9), (0, 9)]], txts=(text,), scores=(confidence,))
    monkeypatch.setattr("rapidocr.RapidOCR", lambda params: lambda pixels: found)
    lines = RapidOcr(Path("nowhere")).read(np.zeros((20, 20, 3), np.uint8))
    assert [line.text for line in lines] == ([text] if kept else [])
