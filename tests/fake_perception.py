"""A working stand-in for the encoders, over fake media."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import AsyncGenerator, Mapping
from typing import Any

import numpy as np
from fake_media import (
    FAKE_PATCHES,
    FAKE_SIDE,
    FAKE_TOKEN_WIDTH,
    MP4,
    PNG,
    WAV,
    fake_embedding,
    fake_transcript,
)

from encoders.errors import CorruptMedia, EncoderError, MediaTooLarge, UnsupportedMedia
from encoders.moderation import ModerationScores
from encoders.text.encoder import unit_rows
from encoders.types import (
    AudioTokens,
    Embeddings,
    EncodedFrame,
    EncodedImage,
    EncodedVideo,
    Film,
    FrameSampling,
    ImageLabel,
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
    TranscriptBegun,
    TranscriptPart,
    VideoTokens,
)
from storage.errors import StorageError
from storage.media import MediaStore
from storage.types import MediaRef

__all__ = ["FakePerception"]


class FakePerception:
    """``serving.services.Perception`` over fake media. Counts calls by method; ``wait`` delays each."""

    def __init__(self, media: MediaStore) -> None:
        self._media = media
        self.calls: dict[str, int] = {}
        self.looks: list[int] = []
        self.qualities: list[Quality] = []
        self.embedded: list[str] = []
        self.pieces: dict[str, int] = {}
        self.failure: Exception | None = None
        self.wait: asyncio.Event | None = None
        self.is_ready = True
        self.options: TranscribeOptions | None = None
        self.heard: asyncio.Semaphore | None = None
        self.parts_open = 0
        self.spoken: SpeakOptions | None = None
        self.judged: list[str] = []

    async def _facts(self, method: str, media: MediaRef) -> tuple[MediaKind, dict[str, Any]]:
        self.calls[method] = self.calls.get(method, 0) + 1
        if self.wait is not None:
            await self.wait.wait()
        if self.failure is not None:
            raise self.failure
        data = await asyncio.to_thread(self._media.read, media)
        for magic, kind in ((PNG, MediaKind.IMAGE), (WAV, MediaKind.AUDIO), (MP4, MediaKind.VIDEO)):
            if data.startswith(magic):
                try:
                    return kind, json.loads(data[len(magic) :])
                except ValueError as error:
                    raise CorruptMedia("The file is damaged and cannot be decoded.") from error
        raise CorruptMedia("The file is damaged and cannot be decoded.")

    async def probe(self, media: MediaRef) -> MediaInfo:
        kind, facts = await self._facts("probe", media)
        if kind is MediaKind.IMAGE:
            width, height = facts.get("size", (640, 480))
            if width * height > 50_000_000:
                raise MediaTooLarge("The image has more than 50000000 pixels (max_pixels).")
            frames = facts.get("frames")
            length = float(len(frames)) if frames else None
            return MediaInfo(kind, "image/png", width, height, length, animated=frames is not None)
        if kind is MediaKind.AUDIO:
            return MediaInfo(kind, "audio/wav", duration_seconds=facts["seconds"], has_audio=True)
        seconds = float(len(facts["frames"]))
        return MediaInfo(kind, "video/mp4", 320, 240, seconds, 25.0, facts["sound"])

    async def look(
        self, media: tuple[MediaRef, ...], quality: Quality = Quality.FAST, min_side: int = 0
    ) -> tuple[SeenMedium | Exception, ...]:
        """Counted by medium, under ``look``, and by picture that is encoded, under ``encode_image``."""
        self.looks.append(len(media))
        return tuple([await self._look(one, quality, min_side) for one in media])

    async def _look(self, media: MediaRef, quality: Quality, min_side: int) -> SeenMedium | Exception:
        try:
            self.calls["look"] = self.calls.get("look", 0) + 1
            info = await self.probe(media)
            if info.kind is not MediaKind.IMAGE or min(info.width or 0, info.height or 0) < min_side:
                return SeenMedium(info, None)
            return SeenMedium(info, await self.encode_image(media, quality))
        except (EncoderError, StorageError) as error:
            return error

    async def encode_image(self, media: MediaRef, quality: Quality = Quality.FAST) -> EncodedImage:
        self.qualities.append(quality)
        _, facts = await self._facts("encode_image", media)
        labels = _labels(facts["labels"])
        return EncodedImage(labels, fake_embedding(" ".join(label.text for label in labels)), 640, 480)

    async def read_text(self, media: MediaRef) -> tuple[TextLine, ...]:
        _, facts = await self._facts("read_text", media)
        box = ((0.0, 0.0), (9.0, 0.0), (9.0, 9.0), (0.0, 9.0))
        return tuple(TextLine(text, 0.9, box) for text in facts["text"])

    async def encode_video(self, media: MediaRef, sampling: FrameSampling) -> EncodedVideo:
        _, facts = await self._facts("encode_video", media)
        frames = tuple(
            EncodedFrame(float(time), sampling.method, _labels(labels), fake_embedding(" ".join(labels)))
            for time, labels in enumerate(facts["frames"][: sampling.max_frames])
        )
        return EncodedVideo(float(len(facts["frames"])), frames, facts.get("near_duplicates", 0))

    async def transcribe(self, media: MediaRef, options: TranscribeOptions) -> Transcript:
        _, facts = await self._facts("transcribe", media)
        self.options = options
        return fake_transcript(facts["speech"], facts.get("seconds", 3.0), options.language or "en")

    async def transcript_parts(
        self, media: MediaRef, options: TranscribeOptions
    ) -> AsyncGenerator[TranscriptPart, None]:
        """Counted as ``transcribe``. With ``heard`` set, one segment for each that is released there."""
        self.parts_open += 1
        try:
            transcript = await self.transcribe(media, options)
            yield TranscriptBegun(transcript.language, transcript.duration_seconds)
            for segment in transcript.segments:
                if self.heard is not None:
                    await self.heard.acquire()
                if self.failure is not None:
                    raise self.failure
                yield segment
        finally:
            self.parts_open -= 1

    async def moderate_texts(self, texts: tuple[str, ...]) -> tuple[ModerationScores, ...]:
        """Knows the words "idiot", "vermin" and "kill you"; ``judged`` are the texts it was asked about."""
        self.calls["moderate_texts"] = self.calls.get("moderate_texts", 0) + 1
        self.judged += texts
        if self.wait is not None:
            await self.wait.wait()
        if self.failure is not None:
            raise self.failure
        return tuple(_judged(text.lower()) for text in texts)

    async def moderate_image(self, media: MediaRef) -> ModerationScores:
        """A picture is as ``sexual`` as its fact of that name says."""
        _, facts = await self._facts("moderate_image", media)
        return ModerationScores.of({"sexual": facts.get("sexual", 0.01)})

    async def moderate_video(self, media: MediaRef, sampling: FrameSampling) -> ModerationScores:
        """A frame is as ``sexual`` as its label "nude" is probable."""
        _, facts = await self._facts("moderate_video", media)
        shown = facts["frames"][: sampling.max_frames]
        return ModerationScores.of({"sexual": max(labels.get("nude", 0.01) for labels in shown)})

    async def image_tokens(self, media: MediaRef, views: int = 1) -> ImageTokens:
        """As many views as asked for: the whole picture and columns of it."""
        _, facts = await self._facts("image_tokens", media)
        boxes = tuple((index, 0, index + 1, 480) for index in range(views))
        return ImageTokens(np.stack([_tokens(f"{facts['labels']} {box}") for box in boxes]), boxes)

    async def video_tokens(self, media: MediaRef, sampling: FrameSampling) -> VideoTokens:
        _, facts = await self._facts("video_tokens", media)
        times, reasons = _sampled(facts, sampling)
        tokens = np.stack([_tokens(f"{facts['frames'][int(time)]}") for time in times])
        seconds = float(len(facts["frames"]))
        return VideoTokens(tokens, times, reasons, seconds, facts.get("near_duplicates", 0))

    async def audio_tokens(self, media: MediaRef) -> AudioTokens:
        _, facts = await self._facts("audio_tokens", media)
        tokens = _tokens(str(facts["speech"]))
        pooled = tokens.mean(axis=0)
        return AudioTokens(tokens, pooled / np.linalg.norm(pooled), 0.02)

    async def picture(self, media: MediaRef, max_side: int) -> Pixels:
        """One colour, made of the labels."""
        _, facts = await self._facts("picture", media)
        return _pixels(str(facts["labels"]), min(max_side, FAKE_SIDE))

    async def film(self, media: MediaRef, sampling: FrameSampling) -> Film:
        _, facts = await self._facts("film", media)
        times, reasons = _sampled(facts, sampling)
        frames = np.stack([_pixels(str(facts["frames"][int(time)]), FAKE_SIDE) for time in times])
        return Film(frames, times, reasons, float(len(facts["frames"])), facts.get("near_duplicates", 0))

    async def sound(self, media: MediaRef) -> Sound:
        """Silence of the right length."""
        _, facts = await self._facts("sound", media)
        return np.zeros(int(16_000 * facts.get("seconds", 3.0)), np.float32)

    async def fingerprint(self, media: MediaRef) -> str:
        """The picture's ``fingerprint``, or one of its labels."""
        _, facts = await self._facts("fingerprint", media)
        of_labels = hashlib.sha256(json.dumps(facts["labels"]).encode()).hexdigest()[:16]
        return str(facts.get("fingerprint", of_labels))

    async def thumbnail(self, media: MediaRef, max_side: int, at_seconds: float | None = None) -> bytes:
        kind, _ = await self._facts("thumbnail", media)
        if kind is MediaKind.AUDIO:
            raise UnsupportedMedia("This medium has no picture to show.")
        when = "" if at_seconds is None else f" at {at_seconds:g}"
        return b"\xff\xd8\xff" + f"{kind.value} {max_side}{when}".encode()

    async def embed_texts(self, texts: tuple[str, ...], model: str | None = None) -> Embeddings:
        self.calls["embed_texts"] = self.calls.get("embed_texts", 0) + 1
        self.embedded += texts
        if model is not None:  # one whose vectors have eight numbers
            made = [
                np.array(list(hashlib.sha256(f"{model}: {text}".encode()).digest()[:8]), np.float32)
                for text in texts
            ]
            return Embeddings(unit_rows(np.stack(made)), tuple(len(text.split()) for text in texts))
        if self.wait is not None:
            await self.wait.wait()
        if self.failure is not None:
            raise self.failure
        return Embeddings(
            np.stack([fake_embedding(text) for text in texts]),
            tuple(len(text.split()) for text in texts),
            tuple(self.pieces.get(text, 1) for text in texts),
        )

    async def speak(self, options: SpeakOptions) -> AsyncGenerator[bytes | Spoken, None]:
        """Says each word as its own bytes; ``heard`` releases words as it does segments. Reads no "unreadable"."""
        self.calls["speak"] = self.calls.get("speak", 0) + 1
        self.spoken = options
        self.parts_open += 1
        try:
            words = options.text.split()
            if words[0] == "unreadable":
                raise UnsupportedMedia("There is nothing in the text that this voice can read.")
            for word in words:
                if self.heard is not None:
                    await self.heard.acquire()
                if self.failure is not None:
                    raise self.failure
                yield f"<{word}>".encode()
            yield b""
            yield Spoken(len(options.text), 80 * len(words), float(len(words)))
        finally:
            self.parts_open -= 1

    async def metrics(self) -> bytes:
        if self.failure is not None:
            raise self.failure
        return b"# HELP manymodal_encoder_batch_items Items of a batch.\n"

    async def ready(self) -> bool:
        return self.is_ready


def _labels(given: Mapping[str, float]) -> tuple[ImageLabel, ...]:
    labels = [ImageLabel(text, probability) for text, probability in given.items()]
    return tuple(sorted(labels, key=lambda label: -label.probability))


def _judged(text: str) -> ModerationScores:
    words = {"harassment": "idiot", "hate": "vermin", "harassment/threatening": "kill you"}
    return ModerationScores.of(
        {"toxic": 0.1} | {category: 0.95 if word in text else 0.02 for category, word in words.items()}
    )


def _digest(words: str) -> np.random.Generator:
    return np.random.default_rng(int.from_bytes(hashlib.sha256(words.encode()).digest()[:8], "big"))


def _tokens(words: str) -> np.ndarray[Any, np.dtype[np.float32]]:
    return _digest(words).normal(size=(FAKE_PATCHES, FAKE_TOKEN_WIDTH)).astype(np.float32)


def _pixels(words: str, side: int) -> Pixels:
    colour = _digest(words).integers(0, 256, 3, dtype=np.uint8)
    return np.broadcast_to(colour, (side, side, 3)).copy()


def _sampled(facts: Mapping[str, Any], sampling: FrameSampling) -> tuple[tuple[float, ...], tuple[str, ...]]:
    """Times and reasons of a fake video's frames, of which the first are taken."""
    times = tuple(float(time) for time in range(len(facts["frames"]))[: sampling.max_frames])
    return times, (sampling.method,) * len(times)
