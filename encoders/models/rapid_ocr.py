"""RapidOCR (PP-OCRv6 small, ONNX): lines of printed text with boxes and confidence, in reading order.

Words found on four scanned pages of tesseract's test set (two of them newspaper pages), longer side at most
2000 / 1600 / 1280 / 960 pixels: 0.986 / 0.988 / 0.988 / 0.978; the time falls with the pixels.
"""

from __future__ import annotations

import threading
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from encoders.config import EncoderConfig
from encoders.types import ModelSpec, TextLine
from encoders.weights import find_directory, package_file, verify_file

if TYPE_CHECKING:
    from encoders.registry import Progress

__all__ = ["SPEC", "RapidOcr", "load", "prepare"]

_DETECT, _ROTATE, _READ = (
    "PP-OCRv6_det_small.onnx",
    "ch_ppocr_mobile_v2.0_cls_mobile.onnx",
    "PP-OCRv6_rec_small.onnx",
)
_SHA256 = {
    _DETECT: "090f04abcd9d9a7498bc4ebf677e4cb9bdce1fe4197ddb7e529f1ef44e1ff94f",
    _ROTATE: "e47acedf663230f8863ff1ab0e64dd2d82b838fceb5957146dab185a89d6215c",
    _READ: "6f327246b50388f3c176ae304bd95767ea6dc0c9ae92153ef8cbe210b3c14884",
}

_MIN_SIDE_PIXELS = 8  # smaller letters are not readable
_MAX_ASPECT = 4

SPEC = ModelSpec(
    name="rapidocr",
    task="ocr",
    modalities=("image",),
    dimensions=None,
    licence="Apache-2.0",
    revision="ppocrv6-small-6f327246",
    preprocessing="rgb1600-2",
    packages=("rapidocr",),
    extra={
        "files": tuple(_SHA256),
        "package_folder": "rapidocr/models",
        "max_side_pixels": 1600,
        # Edges and shadows in photos are read as single characters ("0", "8", "口").
        "min_confidence": 0.5,
        "min_single_character_confidence": 0.9,
    },
)


def prepare(target_dir: Path, progress: Progress) -> None:
    """Check the package's files; they are used where they lie, so nothing is written."""
    for index, (name, sha256) in enumerate(_SHA256.items()):
        progress(index / len(_SHA256), f"checking {name}")
        verify_file(
            package_file(SPEC.packages[0], f"{SPEC.extra['package_folder']}/{name}"), sha256, SPEC.name
        )


def load(config: EncoderConfig) -> RapidOcr:
    """Load and warm up. Raises ``ModelUnavailable`` when the model files are not found."""
    model = RapidOcr(find_directory(SPEC, config.models_dir), config.threads)
    model.warm_up()
    return model


class RapidOcr:
    """The loaded reader. Safe to call from several threads; they take turns."""

    def __init__(self, directory: Path, threads: int = 2) -> None:
        from rapidocr import RapidOCR

        # Every path is given, because RapidOCR downloads what it does not find under its own folder.
        self._engine = RapidOCR(
            params={
                "Global.log_level": "critical",  # it warns about every picture without text
                "Global.text_score": SPEC.extra["min_confidence"],
                "Global.max_side_len": SPEC.extra["max_side_pixels"],
                "EngineConfig.onnxruntime.intra_op_num_threads": threads,
                "Det.model_path": str(directory / _DETECT),
                "Cls.model_path": str(directory / _ROTATE),
                "Rec.model_path": str(directory / _READ),
            }
        )
        self._lock = threading.Lock()  # the detector keeps the current picture's scale in itself

    def warm_up(self) -> None:
        """Load the three networks, which RapidOCR does on first use, by reading a drawn word."""
        import cv2

        page = np.full((64, 200, 3), 255, dtype=np.uint8)
        cv2.putText(page, "warm up", (10, 42), cv2.FONT_HERSHEY_SIMPLEX, 1.2, (0, 0, 0), 2)
        self.read(page)

    def read(self, image: NDArray[np.uint8]) -> tuple[TextLine, ...]:
        """Lines of text in an RGB picture ``(height, width, 3)``, top to bottom, then left to right.

        Lines read with too little confidence (``min_confidence`` and ``min_single_character_confidence`` in
        ``SPEC.extra``) are left out. A picture without text gives an empty tuple.
        """
        height, width = image.shape[:2]
        if min(height, width) < _MIN_SIDE_PIXELS:
            return ()
        with self._lock:
            # Its networks were trained on OpenCV's channel order.
            found = self._engine(np.ascontiguousarray(_padded(image)[:, :, ::-1]))
        boxes, texts, scores = (getattr(found, name, None) for name in ("boxes", "txts", "scores"))
        if boxes is None or texts is None or scores is None:
            return ()
        return tuple(
            TextLine(text, float(score), tuple((min(float(x), width), min(float(y), height)) for x, y in box))
            for box, text, score in zip(boxes, texts, scores, strict=True)
            if _is_credible(text, float(score))
        )


def _is_credible(text: str, confidence: float) -> bool:
    single = len(text.strip()) <= 1
    return confidence >= float(SPEC.extra["min_single_character_confidence" if single else "min_confidence"])


def _padded(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The picture with a margin to the right or below, so that it is at most four times as long as wide.

    The detector enlarges the shorter side to 736 pixels: a strip of 30x2000 would become 736x49000 and take
    all memory there is.
    """
    height, width = image.shape[:2]
    below, right = max(0, -(-width // _MAX_ASPECT) - height), max(0, -(-height // _MAX_ASPECT) - width)
    if not below and not right:
        return image
    padded = np.empty((height + below, width + right, 3), dtype=np.uint8)
    padded[:] = np.median(image, axis=(0, 1)).astype(np.uint8)  # most likely the paper
    padded[:height, :width] = image
    return padded
