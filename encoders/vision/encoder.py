"""What a vision model offers: pictures to labels and embeddings, whichever architecture it is."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any, Protocol, runtime_checkable

from encoders.types import EncodedImage, ImageTokens, Pixels, Quality
from encoders.vision.tiles import TilePlan

__all__ = ["TokenEncoder", "VisionEncoder", "tokens_of", "vision_of"]


@runtime_checkable
class VisionEncoder(Protocol):
    """A loaded vision model; also a ``BatchEncoder[Pixels, Prepared, EncodedImage]`` for the micro-batcher.

    ``prepare`` and ``run`` work at the quality the model was loaded with; ``at`` gives the same model, the same
    weights in memory, at another.
    """

    def encode(self, images: Sequence[Pixels], quality: Quality | None = None) -> tuple[EncodedImage, ...]:
        """Labels and embeddings of RGB pictures ``(height, width, 3)`` of any sizes, order kept. Thread-safe.

        ``quality`` None is the one the model was loaded with.
        """
        ...

    def at(self, quality: Quality) -> VisionEncoder:
        """This model at ``quality``, sharing its weights."""
        ...

    def prepare(self, items: Sequence[Pixels]) -> list[Any]:
        """Resize to the model's input: one result per picture. Called from several threads."""
        ...

    def bucket(self, prepared: Any) -> Hashable:
        """The shape of what the model sees of it."""
        ...

    def cost(self, prepared: Any) -> int:
        """Pixels of all its views."""
        ...

    def run(self, batch: Sequence[Any]) -> list[EncodedImage]:
        """The model itself, on prepared pictures of one bucket."""
        ...


@runtime_checkable
class TokenEncoder(Protocol):
    """A vision model that also gives its patch tokens, of the whole picture and of tiles."""

    @property
    def takes_tiles(self) -> bool:
        """Whether it can look at tiles of a picture: not one that reads pictures at their own shape."""
        ...

    def at(self, quality: Quality) -> TokenEncoder:
        """This model at ``quality``, sharing its weights."""
        ...

    def tokens(self, images: Sequence[Pixels], tiles: TilePlan | None = None) -> tuple[ImageTokens, ...]:
        """Patch tokens of each picture, order kept. Without ``tiles`` the whole picture is the only view."""
        ...


def vision_of(model: Any) -> VisionEncoder:
    """What the micro-batcher of pictures runs: a joint model's vision side, or the vision model itself."""
    side: VisionEncoder = getattr(model, "vision", model)
    return side


def tokens_of(model: Any) -> TokenEncoder | None:
    """What gives a bridge its tokens; ``None`` when the model has none.

    It looks at fast quality, whatever the model was loaded at: a bridge is trained on such tokens, and soft tokens
    that are kept must not depend on a setting that their key does not have.
    """
    side = vision_of(model)
    return side.at(Quality.FAST) if isinstance(side, TokenEncoder) else None
