"""What every reader of text in pictures promises, held against the real models."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from loaded_models import each, loaded, page

from encoders.types import ModelSpec

pytestmark = pytest.mark.models

_PHOTOTEST = "phototest.txt"
_ROTATED = [
    "phototest-rotated-180.png",
    "phototest-rotated-L.png",
    "phototest-rotated-R.png",
    "phototestrot.tif",
]

# File, text of the file, words found at least, words wrong, missing or out of order at most.
_PAGES = [
    ("phototest.tif", _PHOTOTEST, 1.0, 0.0),
    ("phototest_2.tif", _PHOTOTEST, 1.0, 0.0),
    *((name, _PHOTOTEST, 1.0, 0.0) for name in _ROTATED),
    ("eurotext.tif", "eurotext.txt", 0.98, 0.02),
    ("8071_093.3B.tif", "8071_093.3B.txt", 0.98, 0.06),  # four columns of two magazine pages
    ("8087_054.3B.tif", "8087_054.3B.txt", 0.93, 0.12),  # columns around a picture
]


def _scan(path: Path, max_side: int) -> Any:
    from PIL import Image

    image = Image.open(path).convert("RGBA")
    white = Image.new("RGBA", image.size, "white")
    white.alpha_composite(image)
    white.thumbnail((max_side, max_side))
    return np.asarray(white.convert("RGB"))


def _words(text: str) -> list[str]:
    """Lower-case words; those divided at the end of a line are joined."""
    return re.findall(r"\w+", re.sub(r"-\s*\n\s*(?=[a-z])", "", text).lower())


@each("ocr")
def test_lines_in_reading_order(spec: ModelSpec, models_dir: Path) -> None:
    lines = loaded(spec.name, models_dir).read(page())
    assert [line.text for line in lines] == ["First line here", "Second line 42", "Third and last"]
    for index, line in enumerate(lines):
        assert 0.5 <= line.confidence <= 1
        assert len(line.box) == 4
        middle = sum(y for _, y in line.box) / 4
        assert middle == pytest.approx(62 + 80 * index, abs=15)
        assert line.box[0][0] < line.box[1][0]
        assert line.box[0][1] < line.box[3][1]


@each("ocr")
@pytest.mark.parametrize(("file", "truth", "found", "wrong"), _PAGES, ids=[name for name, *_ in _PAGES])
def test_scanned_pages(
    spec: ModelSpec, file: str, truth: str, found: float, wrong: float, models_dir: Path, shared_data: Path
) -> None:
    jiwer = pytest.importorskip("jiwer")
    folder = shared_data / "ocr" / "tesseract-test"
    lines = loaded(spec.name, models_dir).read(_scan(folder / file, spec.extra["max_side_pixels"]))
    expected = _words((folder / truth).read_text("utf-8"))
    read = _words("\n".join(line.text for line in lines))
    assert (Counter(expected) & Counter(read)).total() / len(expected) >= found
    assert jiwer.wer(" ".join(expected), " ".join(read)) <= wrong


@each("ocr")
@pytest.mark.parametrize("degrees", [2, -5, 90, 180, 270])
def test_pages_that_lie_askew(spec: ModelSpec, degrees: int, models_dir: Path) -> None:
    from PIL import Image

    turned = Image.fromarray(page()).rotate(
        -degrees, Image.Resampling.BICUBIC, expand=True, fillcolor=(255, 255, 255)
    )
    lines = loaded(spec.name, models_dir).read(np.asarray(turned))
    assert [line.text for line in lines] == ["First line here", "Second line 42", "Third and last"]
    for line in lines:
        along = np.subtract(line.box[1], line.box[0])
        angle = np.degrees(np.arctan2(along[1], along[0]))
        assert (angle - degrees + 180) % 360 - 180 == pytest.approx(0, abs=3)


@each("ocr")
def test_pictures_without_text(spec: ModelSpec, models_dir: Path, capfd: pytest.CaptureFixture[str]) -> None:
    model = loaded(spec.name, models_dir)
    for height, width in ((200, 300), (1, 1), (3, 900), (1600, 12), (12, 1600)):
        assert model.read(np.full((height, width, 3), 200, dtype=np.uint8)) == ()
    assert capfd.readouterr() == ("", "")  # it likes to warn
