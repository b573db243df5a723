"""Asking the encoders about one medium, through the cache of what was perceived before."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine, Mapping, Sequence
from contextlib import aclosing
from dataclasses import asdict, dataclass, field
from hashlib import sha256
from typing import Any, cast

import msgspec
import numpy as np

from encoders.types import (
    Embeddings,
    EncodedImage,
    EncodedVideo,
    FrameSampling,
    MediaInfo,
    MediaKind,
    Quality,
    SeenMedium,
    TextLine,
    TranscribeOptions,
    Transcript,
    TranscriptBegun,
    TranscriptPart,
    TranscriptSegment,
)
from fusion.types import PerceivedMedium
from serving.artifact_codec import decode_artifact, encode_artifact
from serving.catalogue import ModelCatalogue, ServedModel
from serving.concurrency import all_of
from serving.config import GatewayConfig
from serving.degradation import Degradation, Part
from serving.errors import PerceptionTimeout, ServiceUnavailable
from serving.limits.decoding import DecodingMeter
from serving.limits.limiter import TenantLimiter
from serving.live_transcripts import LiveTranscripts
from serving.metrics import GatewayMetrics
from serving.patience import patience
from serving.perceive_options import AS_SET, PerceiveOptions
from serving.perception_tasks import CODEC_VERSION, PerceptionTasks, identity_of
from serving.services import Perception
from storage.derived import DerivedCache
from storage.keys import artifact_key
from storage.types import MediaRef
from storage.vector_cache import VectorCache
from storage.vectors import StoredVector

__all__ = ["Perceived", "Perceiver", "perceived_of"]

_MANY_TEXTS = 64  # whose keys are made in a thread


@dataclass(slots=True)
class Perceived:
    """A medium with what the encoders said, and per task which cache tier answered (``miss``: computed).

    ``detail`` is how closely the request wants a picture to be looked at, ``sampling`` how a video's frames were
    chosen. ``missing`` are the tasks that could not be done because their deployment is down.
    """

    medium: PerceivedMedium
    tiers: dict[str, str] = field(default_factory=dict)
    media: MediaRef | None = None
    detail: str = "auto"
    sampling: FrameSampling | None = None
    missing: tuple[str, ...] = ()


class Perceiver:
    """Looks up or computes what is needed of a medium. One per gateway; ``tasks`` bounds how many run at once."""

    def __init__(
        self,
        perception: Perception,
        derived: DerivedCache,
        vectors: VectorCache,
        catalogue: ModelCatalogue,
        config: GatewayConfig,
        metrics: GatewayMetrics,
    ) -> None:
        self._perception = perception
        self.tasks = PerceptionTasks(derived, config, metrics)
        self.meter: DecodingMeter | None = None
        self.degradation = Degradation(None)
        self._vectors = vectors
        self._metrics = metrics
        self._secret = config.cache_secret
        self._timeout_seconds = config.limits.perception_timeout_seconds
        self.sampling = config.sampling
        self._quality = config.quality
        self._vision_params = {"quality": config.quality}
        self._decode_limits = asdict(config.decode_limits)
        # A picture's place in the text space is made of its labels' text embeddings: both models are in its
        # key.
        self._vision = identity_of(catalogue.vision, catalogue.text)
        self._speech = identity_of(catalogue.speech)
        self._ocr = identity_of(catalogue.ocr)
        self._text = identity_of(catalogue.text)
        self.live = LiveTranscripts(self.transcribe)

    def limit(self, limiter: TenantLimiter) -> None:
        """Count what is decoded from now on."""
        self.meter = DecodingMeter(limiter, self.probe)
        self.tasks.count = self.meter.count

    async def shown(self, media: MediaRef, sampling: FrameSampling | None) -> None:
        """Count a medium that the decoder itself will look at or listen to. Raises ``RateLimited``."""
        if self.meter is not None:
            await self.meter.count(
                "native", media, {} if sampling is None else {"sampling": asdict(sampling)}
            )

    async def probe(self, media: MediaRef) -> MediaInfo:
        """A medium's header facts; media known under the same limits are not probed again."""
        info, _ = await self.tasks.run(
            "probe",
            media,
            ("header", "1", "1"),
            {"limits": self._decode_limits},
            MediaInfo,
            lambda: self._perception.probe(media),
        )
        return info

    async def encode_image(self, media: MediaRef, quality: Quality | None = None) -> tuple[EncodedImage, str]:
        """Labels and embedding of a picture, and the tier."""
        wanted = quality or self._quality
        return await self.tasks.run(
            "labels",
            media,
            self._vision,
            {"quality": wanted},
            EncodedImage,
            lambda: self._perception.encode_image(media, wanted),
        )

    async def look(
        self, media: Sequence[MediaRef], min_side: int = 0, *, keep: bool = True
    ) -> list[SeenMedium | Exception]:
        """Header facts of many media, and labels and embeddings of the pictures among them, in order, by one call
        of the encoders; an error of the encoders or the store stands in its medium's place.

        Pictures that were seen before are not looked at again; new results are kept if wanted. Pictures with a side
        under ``min_side`` pixels have no labels.
        """
        keys = [
            (one.tenant, one.sha256, self.tasks.key("labels", one, self._vision, self._vision_params))
            for one in media
        ]
        seen: list[SeenMedium | Exception | None] = [
            None if data is None else _seen_before(data, one)
            for one, data in zip(media, await self.tasks.derived.find(keys), strict=True)
        ]
        new = [index for index, one in enumerate(seen) if one is None]
        if new:
            asked = tuple(media[index] for index in new)
            try:
                if self.meter is not None:
                    await self.meter.may_look(media[0].tenant)
                async with patience(self._timeout_seconds), self.tasks.slots.turn(media[0].tenant):
                    with self._metrics.time_stage("perceive_look"):
                        answers = await self._perception.look(asked, self._quality, min_side)
            except TimeoutError as error:
                raise self.tasks.too_slow() from error
            kept: dict[tuple[str, str, str], bytes] = {}
            for index, answer in zip(new, answers, strict=True):
                seen[index] = answer
                if isinstance(answer, SeenMedium) and answer.image is not None:
                    kept[keys[index]] = encode_artifact(answer.image)
            if self.meter is not None:
                infos = [answer.info for answer in answers if isinstance(answer, SeenMedium) and answer.image]
                await self.meter.seen(media[0].tenant, infos)
            if keep and kept:
                await self.tasks.derived.keep(kept)
        self._metrics.cache.labels("labels", "store").inc(len(media) - len(new))
        self._metrics.cache.labels("labels", "miss").inc(len(new))
        return [one for one in seen if one is not None]

    async def read_text(self, media: MediaRef) -> tuple[tuple[TextLine, ...], str]:
        """Text lines in a picture, and the tier."""
        return await self.tasks.run(
            "ocr", media, self._ocr, {}, tuple[TextLine, ...], lambda: self._perception.read_text(media)
        )

    async def encode_video(
        self, media: MediaRef, sampling: FrameSampling | None = None
    ) -> tuple[EncodedVideo, str]:
        """Sampled frames of a video, and the tier."""
        wanted = sampling or self.sampling
        return await self.tasks.run(
            "frames",
            media,
            self._vision,
            {"sampling": asdict(wanted)},
            EncodedVideo,
            lambda: self._perception.encode_video(media, wanted),
        )

    async def transcribe(
        self,
        media: MediaRef,
        options: TranscribeOptions | None = None,
        tell: Callable[[TranscriptPart], None] | None = None,
    ) -> tuple[Transcript, str]:
        """What is said in a sound file or a video, and the tier. ``tell`` is told each part of it as soon as it is
        there, if it has to be made for this call.
        """
        wanted = options or TranscribeOptions()
        params: dict[str, Any] = {
            "language": wanted.language,
            "prompt": wanted.prompt,
            "temperature": float(wanted.temperature),
            "translate": wanted.translate,
            "words": wanted.words,
        }
        if wanted.activity is not None:
            params["activity"] = asdict(wanted.activity)

        def ask() -> Coroutine[Any, Any, Transcript]:
            if tell is None:
                return self._perception.transcribe(media, wanted)
            return _told(self._perception.transcript_parts(media, wanted), tell)

        return await self.tasks.run("transcript", media, self._speech, params, Transcript, ask)

    async def fingerprint(self, media: MediaRef) -> str:
        """The 64-bit perceptual hash of a picture, in 16 hex digits."""
        hexadecimal, _ = await self.tasks.run(
            "fingerprint", media, ("phash", "1", "1"), {}, str, lambda: self._perception.fingerprint(media)
        )
        return hexadecimal

    async def thumbnail(self, media: MediaRef, max_side: int, at_seconds: float | None = None) -> bytes:
        """A JPEG of a picture or of a frame of a video, its longer side at most ``max_side`` pixels.

        Raises ``UnsupportedMedia`` for sound, and for a time after the end.
        """
        params: dict[str, Any] = {"max_side": max_side}
        if at_seconds is not None:
            params["at_seconds"] = at_seconds
        jpeg, _ = await self.tasks.run(
            "thumbnail",
            media,
            ("jpeg", "1", "1"),
            params,
            bytes,
            lambda: self._perception.thumbnail(media, max_side, at_seconds),
        )
        return jpeg

    async def embed_texts(
        self, tenant: str, texts: tuple[str, ...], variant: ServedModel | None = None
    ) -> Embeddings:
        """Embeddings of texts, in order; only texts that no cache knows are computed. By the text model, or by a
        ``variant``.
        """
        name = None if variant is None else variant.name
        if not texts:
            return await self._embed(tenant, texts, name)
        model = self._text if variant is None else identity_of(variant)
        if len(texts) <= _MANY_TEXTS:
            keys = self._text_keys(tenant, texts, model)
        else:
            keys = await asyncio.to_thread(self._text_keys, tenant, texts, model)

        async def compute(missing: Sequence[int]) -> list[StoredVector]:
            made = await self._embed(tenant, tuple(texts[index] for index in missing), name)
            pieces = made.chunk_counts or (1,) * len(missing)
            return list(map(StoredVector, made.vectors, made.token_counts, pieces))

        found, tiers = await self._vectors.get_or_compute(keys, "text", compute)
        for tier in tiers:
            self._metrics.cache.labels("text_embedding", tier).inc()
        return Embeddings(
            np.stack([one.vector for one in found]),
            tuple(one.tokens for one in found),
            tuple(one.pieces for one in found),
        )

    def _text_keys(self, tenant: str, texts: Sequence[str], model: tuple[str, str, str]) -> list[str]:
        return [
            artifact_key(
                self._secret,
                tenant,
                sha256(text.encode("utf-8", "surrogatepass")).hexdigest(),
                "text-embedding",
                *model,
                {"codec": CODEC_VERSION},
            )
            for text in texts
        ]

    async def _embed(self, tenant: str, texts: tuple[str, ...], variant: str | None) -> Embeddings:
        try:
            async with patience(self._timeout_seconds), self.tasks.slots.turn(tenant):
                with self._metrics.time_stage("embed_texts"):
                    if variant is not None:
                        return await self._perception.embed_texts(texts, variant)
                    return await self._perception.embed_texts(texts)
        except TimeoutError as error:
            raise PerceptionTimeout(
                f"The texts could not be embedded within {self._timeout_seconds:g} seconds; try again."
            ) from error

    async def perceive(
        self, media: MediaRef, info: MediaInfo, options: PerceiveOptions = AS_SET, *, ocr: bool = True
    ) -> Perceived:
        """Everything the ``text`` strategy and search need of one medium, its tasks side by side."""
        works: dict[str, Coroutine[Any, Any, tuple[Any, str]]] = {}
        if info.kind is MediaKind.IMAGE:
            works["labels"] = self.encode_image(media, options.quality)
            if ocr:
                works["ocr"] = self.read_text(media)
        if info.kind is MediaKind.VIDEO:
            works["frames"] = self.encode_video(media, options.sampling)
        if info.kind is MediaKind.AUDIO or (info.kind is MediaKind.VIDEO and info.has_audio):
            works["transcript"] = self.transcribe(media, options.transcription)
        return await perceived_of(media, info, works, None if options.whole else self.degradation)


async def perceived_of(
    media: MediaRef,
    info: MediaInfo,
    works: Mapping[str, Coroutine[Any, Any, tuple[Any, str]]],
    degradation: Degradation | None = None,
) -> Perceived:
    """What tasks gave of one medium, run side by side. They are named as in reports: ``labels``, ``ocr``,
    ``frames``, ``transcript``, ``soft``. With ``degradation`` what may be lacking is, while its deployment is down.
    """
    found: dict[str, Any] = {}
    tiers: dict[str, str] = {}
    missing: list[str] = []

    async def note(task: str, work: Coroutine[Any, Any, tuple[Any, str]]) -> None:
        if degradation is None or not degradation.may_lack(info.kind, task):
            found[task], tiers[task] = await work
            return
        done = await degradation.unless_down(cast(Part, task), work)
        if done is None:
            missing.append(task)
        else:
            found[task], tiers[task] = done

    await all_of(note(task, work) for task, work in works.items())
    medium = PerceivedMedium(
        id=media.id,
        info=info,
        image=found.get("labels"),
        text_lines=found.get("ocr", ()),
        video=found.get("frames"),
        transcript=found.get("transcript"),
        soft=found.get("soft"),
    )
    return Perceived(medium, tiers, media, missing=tuple(sorted(missing)))


async def _told(
    parts: AsyncGenerator[TranscriptPart, None], tell: Callable[[TranscriptPart], None]
) -> Transcript:
    """The whole of a transcript that comes in parts."""
    begun: TranscriptBegun | None = None
    segments: list[TranscriptSegment] = []
    async with aclosing(parts):
        async for part in parts:
            tell(part)
            if isinstance(part, TranscriptSegment):
                segments.append(part)
            else:
                begun = part
    if begun is None:
        raise ServiceUnavailable("The transcription ended before it began. Please try again.")
    return Transcript(begun.language, begun.duration_seconds, tuple(segments))


def _seen_before(data: bytes, media: MediaRef) -> SeenMedium | None:
    try:
        image = decode_artifact(data, EncodedImage)
    except msgspec.MsgspecError:
        return None
    return SeenMedium(MediaInfo(MediaKind.IMAGE, media.content_type, image.width, image.height), image)
