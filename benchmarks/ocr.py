"""Reading scanned pages, against RapidOCR called directly with the same networks, size and threads, in one run.

    python -m benchmarks.ocr [--rounds 3]

Seconds per page and, held against the text of each page: words found wherever they stand, words wrong, missing or
out of order (word error rate), and the same by letters. Goals: 0.95 of its speed, no fewer words found (less 0.005
in the mean), and no page with more words out of order. Rounds alternate, and so does who goes first. The pages are
``../shared/data/ocr/tesseract-test``.
"""

from __future__ import annotations

import argparse
import re
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.plots import bars
from benchmarks.report import ratios, summary, write
from encoders.config import EncoderConfig
from encoders.models import rapid_ocr
from encoders.types import Pixels
from encoders.weights import find_directory

_PAGES = Path(__file__).parents[2] / "shared/data/ocr/tesseract-test"
_TRUTHS = {
    "8071_093.3B.tif": "8071_093.3B.txt",
    "8087_054.3B.tif": "8087_054.3B.txt",
    "eurotext.tif": "eurotext.txt",
    "phototest.tif": "phototest.txt",
    "phototest-rotated-180.png": "phototest.txt",
    "phototest-rotated-L.png": "phototest.txt",
    "phototest-rotated-R.png": "phototest.txt",
}
_GOAL_SPEED, _GOAL_FOUND = 0.95, -0.005
_THREADS = 2

_Read = Callable[[Pixels], list[str]]


def main() -> int:
    """Run, write ``results/ocr.json`` and the plot; 1 when a goal is missed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--models-dir", type=Path, default=Path.home() / ".cache/manymodal/models")
    wanted = parser.parse_args()
    if not _PAGES.is_dir():
        raise SystemExit("../shared/data/ocr is absent: the pages are not part of the project")
    sides = {"ours": _ours(wanted.models_dir), "rapidocr": _peer(wanted.models_dir)}
    pages = {name: _scan(_PAGES / name) for name in _TRUTHS}
    taken: dict[str, list[float]] = {side: [] for side in sides}
    texts: dict[str, dict[str, list[str]]] = {side: {} for side in sides}
    for page in pages.values():  # every size once: networks lay out their memory by shape
        for read in sides.values():
            read(page)
    for index in range(wanted.rounds):
        for side in list(sides)[:: 1 if index % 2 == 0 else -1]:
            started = time.perf_counter()
            texts[side] = {name: sides[side](page) for name, page in pages.items()}
            taken[side].append((time.perf_counter() - started) / len(pages))
    accuracy = {side: {name: _accuracy(name, lines) for name, lines in texts[side].items()} for side in sides}
    speed = ratios(taken["rapidocr"], taken["ours"])
    found = {side: float(np.mean([page["found"] for page in accuracy[side].values()])) for side in sides}
    ordered = all(
        accuracy["ours"][name]["word_errors"] <= accuracy["rapidocr"][name]["word_errors"] for name in pages
    )
    good = speed["median"] >= _GOAL_SPEED and found["ours"] - found["rapidocr"] >= _GOAL_FOUND and ordered
    result: dict[str, Any] = {
        "speed": speed,
        "seconds_per_page": {side: summary(values) for side, values in taken.items()},
        "words_found": {side: round(value, 4) for side, value in found.items()},
        "pages": accuracy,
        "goals": {"speed": _GOAL_SPEED, "met": good},
    }
    path = write("ocr", result)
    seconds = result["seconds_per_page"]
    series = {
        label: (seconds[side]["median"], seconds[side]["min"], seconds[side]["max"])
        for label, side in (("Manymodal", "ours"), ("RapidOCR directly", "rapidocr"))
    }
    limit = round(seconds["rapidocr"]["median"] / _GOAL_SPEED, 2)
    bars("ocr", f"Reading {len(pages)} scanned pages", "seconds per page", series, goal=limit)
    print(
        f"{speed['median']} times its speed, words found {found}, {path}: goals {'met' if good else 'MISSED'}"
    )
    return 0 if good else 1


def _ours(models_dir: Path) -> _Read:
    model = rapid_ocr.load(rapid_ocr.SPEC, EncoderConfig(models_dir, threads=_THREADS))
    return lambda page: [line.text for line in model.read(page)]


def _peer(models_dir: Path) -> _Read:
    from rapidocr import RapidOCR

    directory = find_directory(rapid_ocr.SPEC, models_dir)
    engine = RapidOCR(
        params={
            "Global.log_level": "critical",
            "Global.max_side_len": rapid_ocr.SPEC.extra["max_side_pixels"],
            "EngineConfig.onnxruntime.intra_op_num_threads": _THREADS,
            "Det.model_path": str(directory / "PP-OCRv6_det_small.onnx"),
            "Cls.model_path": str(directory / "ch_ppocr_mobile_v2.0_cls_mobile.onnx"),
            "Rec.model_path": str(directory / "PP-OCRv6_rec_small.onnx"),
        }
    )
    return lambda page: list(engine(np.ascontiguousarray(page[:, :, ::-1])).txts or ())


def _scan(path: Path) -> Pixels:
    """The page on white, its longer side at most what the reader is given by the platform."""
    from PIL import Image

    image = Image.open(path).convert("RGBA")
    page = Image.new("RGBA", image.size, "white")
    page.alpha_composite(image)
    side = rapid_ocr.SPEC.extra["max_side_pixels"]
    page.thumbnail((side, side))
    return np.asarray(page.convert("RGB"))


def _words(text: str) -> list[str]:
    """Lower-case words; those divided at the end of a line are joined."""
    return re.findall(r"\w+", re.sub(r"-\s*\n\s*(?=[a-z])", "", text).lower())


def _accuracy(name: str, lines: list[str]) -> dict[str, float]:
    import jiwer

    expected, read = _words((_PAGES / _TRUTHS[name]).read_text("utf-8")), _words("\n".join(lines))
    truth, heard = " ".join(expected), " ".join(read)
    return {
        "found": round((Counter(expected) & Counter(read)).total() / len(expected), 4),
        "word_errors": round(jiwer.wer(truth, heard), 4),
        "letter_errors": round(jiwer.cer(truth, heard), 4),
    }


if __name__ == "__main__":
    raise SystemExit(main())
