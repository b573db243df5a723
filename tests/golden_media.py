"""The fixed media of the golden tests, and what the text path must write of each (``tests/golden``)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from deploy.demo.samples import Samples

__all__ = ["GOLDEN", "Golden"]

_FOLDER = Path(__file__).parent / "golden"


@dataclass(frozen=True, slots=True)
class Golden:
    """A medium by the content part it is sent in, and the file that holds its prompt."""

    name: str
    part: str

    def prompt(self) -> str:
        """What must stand in the prompt."""
        return (_FOLDER / f"{self.name}.txt").read_text("utf-8").removesuffix("\n")

    def path(self, samples: Samples, shared_data: Path) -> Path:
        """The medium's file."""
        photos = shared_data / "photos" / "coco" / "images"
        return {
            "broccoli": photos / "000000062554.jpg",
            "pizza": photos / "000000160012.jpg",
            "sign": samples.pictures["sign"],
            "film": samples.video,
            "museum": samples.speech,
        }[self.name]


GOLDEN = {
    name: Golden(name, part)
    for name, part in {
        "broccoli": "image_url",
        "pizza": "image_url",
        "sign": "image_url",
        "film": "video_url",
        "museum": "audio_url",
    }.items()
}
