"""The seams of the platform: what the HTTP routes may ask of the deployments behind them.

Routes know only these protocols. Ray handles (``serving/ray_adapter/``), the plain deployment classes
themselves and the fakes of the tests all satisfy them, so the whole API runs without Ray.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Literal, Protocol, TypeAlias

from encoders.moderation import ModerationScores
from encoders.types import (
    AudioTokens,
    Embeddings,
    EncodedImage,
    EncodedVideo,
    Film,
    FrameSampling,
    ImageTokens,
    MediaInfo,
    MediaKind,
    Pixels,
    Quality,
    SeenMedium,
    Sound,
    SpeakOptions,
    Spoken,
    TextLine,
    TranscribeOptions,
    Transcript,
    TranscriptPart,
    Vector,
    VideoTokens,
)
from fusion.types import SoftTokens
from serving.pool_calls import CallStatistics
from serving.search_service import SearchIndex
from storage.types import MediaRef

__all__ = [
    "Attachment",
    "Bridge",
    "ChatEngine",
    "EngineResponse",
    "NativeMedium",
    "Perception",
    "PoolHealth",
    "PoolStatus",
    "Pools",
    "PromptEmbeddings",
    "SearchIndex",
    "Services",
]


class Perception(Protocol):
    """Encoders as the gateway sees them. Each method raises the typed errors of ``encoders.errors``."""

    async def probe(self, media: MediaRef) -> MediaInfo:
        """Read the header of stored bytes and hold it against the limits."""
        ...

    async def look(
        self, media: tuple[MediaRef, ...], quality: Quality = Quality.FAST, min_side: int = 0
    ) -> tuple[SeenMedium | Exception, ...]:
        """``probe`` of many media, and of the pictures among them ``encode_image``, decoded once for both.

        One answer for each, in order: what is wrong with a medium stands in its place, an error of
        ``encoders.errors`` or ``storage.errors``. Pictures with a side of less than ``min_side`` pixels are not
        encoded.
        """
        ...

    async def encode_image(self, media: MediaRef, quality: Quality = Quality.FAST) -> EncodedImage:
        """Labels and shared-space embedding of a picture."""
        ...

    async def read_text(self, media: MediaRef) -> tuple[TextLine, ...]:
        """Text lines in a picture, in reading order."""
        ...

    async def encode_video(self, media: MediaRef, sampling: FrameSampling) -> EncodedVideo:
        """Sampled frames of a video, each with its time, labels and embedding."""
        ...

    async def transcribe(self, media: MediaRef, options: TranscribeOptions) -> Transcript:
        """What is said in an audio file or in the sound track of a video."""
        ...

    def transcript_parts(
        self, media: MediaRef, options: TranscribeOptions
    ) -> AsyncGenerator[TranscriptPart, None]:
        """The same while it is being heard: the beginning, then each segment as soon as it is there.

        Closing the iterator ends the work.
        """
        ...

    async def fingerprint(self, media: MediaRef) -> str:
        """The 64-bit perceptual hash of a picture, in 16 hex digits."""
        ...

    async def thumbnail(self, media: MediaRef, max_side: int, at_seconds: float | None = None) -> bytes:
        """A small JPEG of a picture, or of a video's first frame that is not black, or of the one that is shown
        ``at_seconds``; never enlarged.

        Raises ``UnsupportedMedia`` for a medium that is neither by its content type, and for a time after its end.
        """
        ...

    async def embed_texts(self, texts: tuple[str, ...], model: str | None = None) -> Embeddings:
        """Embeddings of texts, in order. Texts over the model's length are cut, or read in pieces
        (``chunk_counts``), as the model does it. ``model`` names another than the one that is always there, which
        may have to be loaded first.
        """
        ...

    async def image_tokens(self, media: MediaRef, views: int = 1) -> ImageTokens:
        """Patch tokens of a picture for the bridge: the whole picture, and up to ``views - 1`` tiles of it."""
        ...

    async def video_tokens(self, media: MediaRef, sampling: FrameSampling) -> VideoTokens:
        """Patch tokens of sampled frames, for the bridge."""
        ...

    async def audio_tokens(self, media: MediaRef) -> AudioTokens:
        """The speech encoder's tokens of a sound file or of a video's sound, for the bridge."""
        ...

    async def picture(self, media: MediaRef, max_side: int) -> Pixels:
        """A picture's RGB pixels, its longer side at most ``max_side``, for a decoder that looks itself."""
        ...

    async def film(self, media: MediaRef, sampling: FrameSampling) -> Film:
        """Sampled frames of a video as pixels, for a decoder that looks itself."""
        ...

    async def sound(self, media: MediaRef) -> Sound:
        """The sound of a sound file or a video, for a decoder that listens itself."""
        ...

    async def moderate_texts(self, texts: tuple[str, ...]) -> tuple[ModerationScores, ...]:
        """How probable each category of harm is that the model knows, of each text, in order."""
        ...

    async def moderate_image(self, media: MediaRef) -> ModerationScores:
        """The same of a picture."""
        ...

    async def moderate_video(self, media: MediaRef, sampling: FrameSampling) -> ModerationScores:
        """The same of a video or an animated picture: of each category the highest among the sampled frames."""
        ...

    def speak(self, options: SpeakOptions) -> AsyncGenerator[bytes | Spoken, None]:
        """A text as sound: bytes of the file while it is being made, at last what it took.

        Raises ``ModelUnavailable`` where no voice is set. Closing the iterator ends the work.
        """
        ...

    async def metrics(self) -> bytes:
        """What the encoders count, in Prometheus text format."""
        ...

    async def ready(self) -> bool:
        """Whether all models are loaded and warm."""
        ...


class Bridge(Protocol):
    """Media as soft tokens of the decoder: encoders' tokens through a Q-Former and a projection.

    Raises the typed errors of ``encoders.errors`` and ``fusion.errors``. Only served with the ``qformer`` strategy.
    """

    async def soft_image(self, media: MediaRef, views: int = 1) -> SoftTokens:
        """Of a picture: one piece for the whole picture, and one for each of up to ``views - 1`` tiles."""
        ...

    async def soft_video(self, media: MediaRef, sampling: FrameSampling) -> SoftTokens:
        """Of a video: one piece for each sampled frame."""
        ...

    async def soft_audio(self, media: MediaRef) -> SoftTokens:
        """Of the sound: one piece for each stretch. Only bridges with an audio branch can."""
        ...

    async def ready(self) -> bool:
        """Whether the bridge is loaded."""
        ...


@dataclass(frozen=True, slots=True)
class PromptEmbeddings:
    """Soft tokens at one place of the prompt: float32 ``(tokens, width)``, made for ``decoder``."""

    vectors: Vector
    decoder: str


@dataclass(frozen=True, slots=True)
class NativeMedium:
    """A medium that the decoder looks at or listens to itself, at one place of the prompt.

    ``content_id`` is a keyed hash of tenant, content and every parameter that changes what the decoder sees: media
    of the same id are the same to the engine's caches. ``sampling`` is for videos: ``times_seconds`` are the
    sampled frames that are shown, all of them if it is empty. A picture with a sampling is one frame of a video.
    """

    content_id: str
    media: MediaRef
    kind: MediaKind
    max_side: int = 0
    sampling: FrameSampling | None = None
    times_seconds: tuple[float, ...] = ()


Attachment = PromptEmbeddings | NativeMedium
"""What a request's body refers to by place, as the content part ``{"type": "attachment", "index": i}``."""


@dataclass(frozen=True, slots=True)
class EngineResponse:
    """Status and headers of an engine's answer; they precede its body bytes."""

    status: int
    headers: tuple[tuple[str, str], ...]


class ChatEngine(Protocol):
    """A decoder that speaks OpenAI's HTTP. Raises the typed errors of ``serving.errors``."""

    def request(
        self,
        method: str,
        path: str,
        headers: Mapping[str, str],
        body: bytes,
        attachments: tuple[Attachment, ...] = (),
    ) -> AsyncIterator[EngineResponse | bytes]:
        """Yield one ``EngineResponse``, then body bytes as they come.

        Messages of a chat body may hold content parts ``{"type": "attachment", "index": i}``; each is replaced by
        ``attachments[i]`` in the form the decoder takes.
        Closing the iterator early tells the engine that the client is gone; the request is then aborted.
        """
        ...

    async def ready(self) -> bool:
        """Whether the engine accepts requests."""
        ...


PoolHealth: TypeAlias = Literal["healthy", "scaling", "updating", "unhealthy", "unknown"]
"""``scaling``: healthy, with replicas that come or go. ``unknown``: whoever knows does not answer."""


@dataclass(frozen=True, slots=True)
class PoolStatus:
    """A deployment: its replicas by state (lower case), how many there should be, and the calls of it from here.

    ``target_replicas`` is ``None`` where it is not known, ``calls`` where this process makes none.
    """

    name: str
    health: PoolHealth
    replicas: Mapping[str, int]
    target_replicas: int | None
    calls: CallStatistics | None


class Pools(Protocol):
    """The deployments behind the gateway, for whoever looks after them."""

    @property
    def names(self) -> tuple[str, ...]:
        """Those that must be ready, or may be missing for a while (``serving.degradation``)."""
        ...

    @property
    def may_sleep(self) -> frozenset[str]:
        """Those that have no replicas while nobody calls them; any call wakes them, or keeps them awake."""
        ...

    async def ready(self, name: str) -> bool:
        """Whether a deployment accepts requests, or would if one came: one may be scaled to no replicas."""
        ...

    async def status(self) -> tuple[PoolStatus, ...]:
        """All deployments of the application, by name; a second old at most. Never raises for one that is down."""
        ...

    def calls(self) -> Mapping[str, CallStatistics]:
        """The calls from here, by deployment."""
        ...


@dataclass(frozen=True, slots=True)
class Services:
    """Everything the gateway needs, handed to ``serving.app.create_app``."""

    perception: Perception
    search: SearchIndex
    engine: ChatEngine
    bridge: Bridge | None = None
    pools: Pools | None = None
