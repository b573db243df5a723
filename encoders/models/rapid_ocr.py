"""RapidOCR (PP-OCRv6 small, ONNX): lines of printed text with boxes and confidence, in reading order.

The three networks and the code around each are RapidOCR's; what happens between them is done here.

* Lines are read alone, as many at once as there are threads, instead of six padded to one length with all threads
  on them: 2.5 times as fast (39 lines of a magazine page, alternating).
* A line whose direction is doubtful goes with the rest of the page: three of the eight lines of a page on its head
  were read upside down.
* Lines come in the order of ``encoders.reading_order``. Word error rate of two magazine pages in columns: from 0.92
  and 0.92 in RapidOCR's order (from top to bottom) to 0.03 and 0.10; the same turned by 180 or -5 degrees.

Words found and word error rate on these pages by the size of the picture and of its copy for the detector (longer
side): 1600/1600 0.97, 0.03 and 0.10; 1600/1280 0.97, 0.05 and 0.09; 2000/1600 0.97, 0.03 and 0.10; 2000/2000 0.97,
0.06 and 0.10; 2560/1600 0.97, 0.04 and 0.10. So 1600 stays.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from encoders.config import EncoderConfig
from encoders.reading_order import reading_order
from encoders.types import ModelSpec, Pixels, TextLine
from encoders.weights import find_directory, verified_package_files

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
_TALL = 1.5  # RapidOCR's own bound: higher than this times its width, a line is taken to stand on its side
_READ_HEIGHT = 48
_SURE = 0.9  # of a line's direction; RapidOCR's own bound

SPEC = ModelSpec(
    name="rapidocr",
    task="ocr",
    modalities=("image",),
    dimensions=None,
    licence="Apache-2.0",
    revision="ppocrv6-small-6f327246",
    preprocessing="rgb1600-3",
    packages=("rapidocr",),
    memory_bytes=1 << 30,
    extra={
        "files": tuple(_SHA256),
        "package_folder": "rapidocr/models",
        "max_side_pixels": 1600,
        # Edges and shadows in photos are read as single characters ("0", "8", "口").
        "min_confidence": 0.5,
        "min_single_character_confidence": 0.9,
    },
)

_Corners = NDArray[np.float32]


def prepare(spec: ModelSpec, target_dir: Path, progress: Progress) -> None:
    """Check the package's files; they are used where they lie, so nothing is written."""
    verified_package_files(spec.packages[0], spec.extra["package_folder"], _SHA256, spec.name, progress)


def load(spec: ModelSpec, config: EncoderConfig) -> RapidOcr:
    """Load and warm up. Raises ``ModelUnavailable`` when the model files are not found."""
    model = RapidOcr(find_directory(spec, config.models_dir), config.threads)
    model.warm_up()
    return model


class RapidOcr:
    """The loaded reader. Safe to call from several threads; they take turns."""

    def __init__(self, directory: Path, threads: int = 2) -> None:
        self._detector = _engine(directory, threads, "det")
        # One thread each: as many lines are read at once as there are threads.
        self._classifier = _engine(directory, 1, "cls")
        self._reader = _engine(directory, 1, "rec")
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="ocr")
        self._lock = threading.Lock()  # the detector keeps the current picture's scale in itself

    def warm_up(self) -> None:
        """Load the three networks, which RapidOCR does on first use, by reading a drawn word."""
        import cv2

        page = np.full((64, 200, 3), 255, dtype=np.uint8)
        cv2.putText(page, "warm up", (10, 42), cv2.FONT_HERSHEY_SIMPLEX, 1.2, (0, 0, 0), 2)
        self.read(page)

    def read(self, image: Pixels) -> tuple[TextLine, ...]:
        """Lines of text in an RGB picture ``(height, width, 3)``, in the order in which they are read.

        A box begins at the top-left of the text as it is read: at the picture's own top-left for upright text, at
        its bottom-right for text that stands on its head. Lines read with too little confidence
        (``min_confidence`` and ``min_single_character_confidence`` in ``SPEC.extra``) are left out. A picture
        without text gives an empty tuple.
        """
        height, width = image.shape[:2]
        if min(height, width) < _MIN_SIDE_PIXELS:
            return ()
        # Its networks were trained on OpenCV's channel order.
        page = np.ascontiguousarray(_padded(image)[:, :, ::-1])
        with self._lock:
            boxes = getattr(self._detector(page), "boxes", None)
            if boxes is None or not len(boxes):
                return ()
            read = self._read_boxes(page, np.asarray(boxes, dtype=np.float32))
        lines = [
            TextLine(text, score, tuple((min(float(x), width), min(float(y), height)) for x, y in box))
            for box, text, score in read
            if _is_credible(text, score)
        ]
        return tuple(lines[index] for index in reading_order([line.box for line in lines]))

    def _read_boxes(self, page: Pixels, boxes: _Corners) -> list[tuple[_Corners, str, float]]:
        """Corners as the text is read, text and confidence of each box."""
        tall = np.array([_is_tall(box) for box in boxes])
        # A line that stands on its side is taken to begin at the picture's right.
        boxes = np.where(tall[:, None, None], np.roll(boxes, -1, axis=1), boxes)
        pieces = list(self._pool.map(lambda box: _cut(page, box), boxes))
        turned = _turned(boxes, tall, list(self._pool.map(self._upside_down, pieces)))
        boxes = np.where(turned[:, None, None], np.roll(boxes, -2, axis=1), boxes)
        pieces = [
            np.ascontiguousarray(piece[::-1, ::-1]) if over else piece
            for piece, over in zip(pieces, turned, strict=True)
        ]
        # The longest first, so that no thread is left with a long line in the end.
        order = np.argsort([-piece.shape[1] / piece.shape[0] for piece in pieces], kind="stable")
        found = list(self._pool.map(lambda index: self._read_piece(pieces[index]), order))
        read = dict(zip(order.tolist(), found, strict=True))
        return [(box, *read[index]) for index, box in enumerate(boxes)]

    def _upside_down(self, piece: Pixels) -> float:
        """Probability that the piece stands on its head."""
        label, probability = self._classifier(piece).cls_res[0]
        return float(probability) if label == "180" else 1 - float(probability)

    def _read_piece(self, piece: Pixels) -> tuple[str, float]:
        found = self._reader(piece)
        return str(found.txts[0]), float(found.scores[0])


def _engine(directory: Path, threads: int, stage: str) -> Any:
    """RapidOCR doing one of its three stages (``det``, ``cls``, ``rec``) alone."""
    from rapidocr import RapidOCR

    # Every path is given, because RapidOCR downloads what it does not find under its own folder.
    return RapidOCR(
        params={
            "Global.log_level": "critical",  # it warns about every picture without text
            "Global.max_side_len": SPEC.extra["max_side_pixels"],
            "Global.use_preprocess_img": stage == "det",
            "Global.use_det": stage == "det",
            "Global.use_cls": stage == "cls",
            "Global.use_rec": stage == "rec",
            "EngineConfig.onnxruntime.intra_op_num_threads": threads,
            "Det.model_path": str(directory / _DETECT),
            "Cls.model_path": str(directory / _ROTATE),
            "Rec.model_path": str(directory / _READ),
        }
    )


def _sides(box: _Corners) -> tuple[float, float]:
    """Width and height of a box in pixels, the longer of each pair of sides."""
    along = max(float(np.linalg.norm(box[0] - box[1])), float(np.linalg.norm(box[2] - box[3])))
    across = max(float(np.linalg.norm(box[0] - box[3])), float(np.linalg.norm(box[1] - box[2])))
    return along, across


def _is_tall(box: _Corners) -> bool:
    width, height = _sides(box)
    return height >= _TALL * width


def _cut(page: Pixels, box: _Corners) -> Pixels:
    """The piece of the page in the box, straightened: its first corner becomes the top-left."""
    import cv2

    width, height = (max(1, int(side)) for side in _sides(box))
    corners = np.array([(0, 0), (width, 0), (width, height), (0, height)], dtype=np.float32)
    piece = cv2.warpPerspective(
        page,
        cv2.getPerspectiveTransform(np.ascontiguousarray(box), corners),
        (width, height),
        flags=cv2.INTER_CUBIC,
        borderMode=cv2.BORDER_REPLICATE,
    )
    if height >= 2 * _READ_HEIGHT:  # what follows shrinks it without filtering
        size = (max(1, round(width * _READ_HEIGHT / height)), _READ_HEIGHT)
        piece = cv2.resize(piece, size, interpolation=cv2.INTER_AREA)
    return np.asarray(piece, dtype=np.uint8)


def _turned(boxes: _Corners, tall: NDArray[np.bool_], upside_down: Iterable[float]) -> NDArray[np.bool_]:
    """Which lines are turned round: the doubtful ones (short, or of few letters) go with the rest of the page."""
    probabilities = np.fromiter(upside_down, dtype=np.float64)
    lengths = np.array([_sides(box)[0] for box in boxes])
    turned = probabilities > 0.5
    doubtful = np.maximum(probabilities, 1 - probabilities) <= _SURE
    for alike in (tall, ~tall):
        majority = float(((probabilities - 0.5) * lengths)[alike].sum()) > 0
        turned[alike & doubtful] = majority
    return turned


def _is_credible(text: str, confidence: float) -> bool:
    if not text.strip():
        return False
    single = len(text.strip()) <= 1
    return confidence >= float(SPEC.extra["min_single_character_confidence" if single else "min_confidence"])


def _padded(image: Pixels) -> Pixels:
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
