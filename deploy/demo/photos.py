"""The sample pictures: photos from scikit-image's installed data, and a sign drawn here.

Only files that scikit-image's documentation states to be CC0 or in the public domain are taken; they are read
from the installed package and never from the network.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import resources
from io import BytesIO

from deploy.errors import DeployError

__all__ = ["PHOTOS", "SIGN_LINES", "Photo", "draw_sign", "read_photo"]


@dataclass(frozen=True, slots=True)
class Photo:
    """A photo: our name, its file in scikit-image's data, what it shows, who gave it on what terms."""

    name: str
    source: str
    shows: str
    credit: str
    licence: str


PHOTOS = (
    Photo("cat", "chelsea.png", "a tabby cat, close up", "Stefan van der Walt", "CC0"),
    Photo("coffee", "coffee.png", "a cup of espresso on a wooden table", "Rachel Michetti", "CC0"),
    Photo("rocket", "rocket.jpg", "a Falcon 9 rocket at lift-off", "SpaceX", "public domain"),
    Photo("photographer", "camera.png", "a photographer with his camera on a tripod", "Lav Varshney", "CC0"),
    Photo("astronaut", "astronaut.png", "the astronaut Eileen Collins", "NASA", "public domain"),
    Photo("clock", "clock_motion.png", "a wall clock, blurred", "Stefan van der Walt", "public domain"),
    Photo("horse", "horse.png", "the silhouette of a horse", "Andreas Preuss", "CC0"),
)

SIGN_LINES = ("SCIENCE MUSEUM", "Open 9:00 to 18:00", "Tickets: 20 dollars", "Children: free")
"""What is written on the sign, top to bottom."""

_SIGN_SIZE = (800, 500)


def read_photo(photo: Photo) -> bytes:
    """The photo's file as scikit-image carries it.

    Raises ``DeployError`` when scikit-image, the ``demo`` extra, is not installed.
    """
    advice = "install the demo's extra: pip install 'manymodal[demo]'"
    try:
        folder = resources.files("skimage") / "data"
    except ModuleNotFoundError:
        raise DeployError(
            f"The demo's photos come with scikit-image, which is not there; {advice}."
        ) from None
    try:
        return (folder / photo.source).read_bytes()
    except FileNotFoundError:
        raise DeployError(
            f"The installed scikit-image does not carry the demo's photo {photo.source}; {advice}."
        ) from None


def draw_sign() -> bytes:
    """A sign with large letters as PNG, for the OCR to read. In Pillow's own font (Aileron, CC0)."""
    from PIL import Image, ImageDraw, ImageFont

    width, height = _SIGN_SIZE
    picture = Image.new("RGB", _SIGN_SIZE, "#123a6b")
    draw = ImageDraw.Draw(picture)
    draw.rounded_rectangle((20, 20, width - 20, height - 20), radius=24, outline="white", width=6)
    for index, line in enumerate(SIGN_LINES):
        font = ImageFont.load_default(size=72 if index == 0 else 52)
        draw.text((width / 2, 105 + 100 * index), line, fill="white", font=font, anchor="mm")
    png = BytesIO()
    picture.save(png, "PNG", optimize=True)
    return png.getvalue()
