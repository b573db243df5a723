"""Working in-memory stand-ins for the deployments, and tiny "media" that the stand-in encoders can read.

A fake medium is the real magic number of its format followed by JSON that says what is to be perceived, so
the gateway's own sniffing and storing run on it as on real files.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from typing import Any

import numpy as np

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
    TranscriptSegment,
    TranscriptWord,
    VideoTokens,
)
from fusion.errors import FusionError
from fusion.types import SoftTokens
from search.engine import SearchEngine
from search.filters import Condition
from search.types import (
    Cluster,
    CollectionInfo,
    CollectionMap,
    CollectionSpec,
    Query,
    Row,
    SearchAnswer,
    StoredDocument,
)
from serving.errors import EngineUnavailable
from serving.services import Attachment, EngineResponse
from storage.errors import StorageError
from storage.media import MediaStore
from storage.types import MediaRef

__all__ = [
    "FakeBridge",
    "FakeEngine",
    "FakePerception",
    "FakeSearchIndex",
    "fake_embedding",
    "fake_mp4",
    "fake_png",
    "fake_transcript",
    "fake_wav",
]

DIMENSIONS = 384
FAKE_SIDE = 8
FAKE_PATCHES, FAKE_TOKEN_WIDTH = 4, 6
_PNG = b"\x89PNG\r\n\x1a\n"
_WAV = b"RIFF\x00\x00\x00\x00WAVE"
_MP4 = b"\x00\x00\x00\x18ftypisom\x00\x00\x02\x00isomiso2"


def fake_png(labels: Mapping[str, float] | None = None, text: tuple[str, ...] = (), **facts: Any) -> bytes:
    """A picture with labels and text lines."""
    return _PNG + json.dumps({"labels": dict(labels or {"cat": 0.8}), "text": text, **facts}).encode()


def fake_wav(*speech: tuple[float, float, str], seconds: float = 5.0) -> bytes:
    """A sound file with passages of speech."""
    return _WAV + json.dumps({"speech": speech, "seconds": seconds}).encode()


def fake_mp4(
    frames: list[Mapping[str, float]], *speech: tuple[float, float, str], sound: bool = True
) -> bytes:
    """A video with one frame a second, each with labels, and passages of speech."""
    return _MP4 + json.dumps({"frames": frames, "speech": speech, "sound": sound}).encode()


def fake_embedding(text: str) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Words hashed into a unit vector: texts that share words are near."""
    vector = np.zeros(DIMENSIONS, np.float32)
    for word in re.findall(r"\w+", text.lower()) or ["nothing"]:
        vector[int.from_bytes(hashlib.sha256(word.encode()).digest()[:4], "big") % DIMENSIONS] += 1
    return (vector / np.linalg.norm(vector)).astype(np.float32)


def fake_transcript(
    speech: list[tuple[float, float, str]], seconds: float, language: str = "en"
) -> Transcript:
    """A transcript of passages; each word gets an equal share of its passage's time."""
    segments = []
    for start, end, text in speech:
        words = text.split()
        step = (end - start) / max(1, len(words))
        times = [start + step * index for index in range(len(words))]
        heard = tuple(TranscriptWord(t, t + step, f" {w}", 0.9) for t, w in zip(times, words, strict=True))
        segments.append(TranscriptSegment(start, end, f" {text}", -0.2, 0.01, 1.1, 0.0, (1, 2), heard))
    return Transcript(language, seconds, tuple(segments))


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
        for magic, kind in ((_PNG, MediaKind.IMAGE), (_WAV, MediaKind.AUDIO), (_MP4, MediaKind.VIDEO)):
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


class FakeBridge:
    """``serving.services.Bridge`` over a fake perception: the encoders' tokens through a fixed matrix.

    Each piece gets ``tokens`` of them. Without ``hears`` it has no audio branch. Counts calls by method.
    """

    def __init__(
        self,
        perception: FakePerception,
        decoder: str = "smollm2-135m-instruct",
        width: int = 8,
        tokens: int = 4,
        *,
        hears: bool = False,
    ) -> None:
        self._perception = perception
        self._decoder = decoder
        self._tokens = tokens
        self.hears = hears
        self._projection = np.random.default_rng(5).normal(size=(FAKE_TOKEN_WIDTH, width)).astype(np.float32)
        self.calls: dict[str, int] = {}
        self.asked_views: list[int] = []
        self.asked_sampling: list[FrameSampling] = []
        self.failure: Exception | None = None
        self.wait: asyncio.Event | None = None
        self.is_ready = True
        self.asked = asyncio.Event()
        self.cancelled = asyncio.Event()

    async def soft_image(self, media: MediaRef, views: int = 1) -> SoftTokens:
        self.asked_views.append(views)
        await self._called("soft_image")
        seen = await self._perception.image_tokens(media, views)
        return SoftTokens(self._projected(seen.tokens), self._decoder)

    async def soft_video(self, media: MediaRef, sampling: FrameSampling) -> SoftTokens:
        self.asked_sampling.append(sampling)
        await self._called("soft_video")
        seen = await self._perception.video_tokens(media, sampling)
        return SoftTokens(
            self._projected(seen.tokens),
            self._decoder,
            seen.times_seconds,
            seen.reasons,
            seen.duration_seconds,
            seen.near_duplicates,
        )

    async def soft_audio(self, media: MediaRef) -> SoftTokens:
        await self._called("soft_audio")
        if not self.hears:
            raise FusionError("The bridge has no branch for sound.")
        heard = await self._perception.audio_tokens(media)
        return SoftTokens(self._projected(heard.tokens[None]), self._decoder, (0.0,))

    async def ready(self) -> bool:
        return self.is_ready

    async def _called(self, method: str) -> None:
        self.calls[method] = self.calls.get(method, 0) + 1
        self.asked.set()
        try:
            if self.wait is not None:
                await self.wait.wait()
        except asyncio.CancelledError:
            self.cancelled.set()
            raise
        if self.failure is not None:
            raise self.failure

    def _projected(
        self, tokens: np.ndarray[Any, np.dtype[np.float32]]
    ) -> np.ndarray[Any, np.dtype[np.float32]]:
        """``(pieces, patches, width of the encoder)`` to ``(pieces, tokens, width of the decoder)``."""
        return (np.resize(tokens, (len(tokens), self._tokens, FAKE_TOKEN_WIDTH)) @ self._projection).astype(
            np.float32
        )


class FakeSearchIndex:
    """``serving.services.SearchIndex``: the real engine, called directly."""

    def __init__(self, engine: SearchEngine) -> None:
        self._engine = engine

    async def create(self, tenant: str, name: str, spec: CollectionSpec | None) -> CollectionInfo:
        return await asyncio.to_thread(self._engine.create, tenant, name, spec)

    async def describe(self, tenant: str, collection: str) -> CollectionInfo:
        return await asyncio.to_thread(self._engine.describe, tenant, collection)

    async def collections(self, tenant: str) -> tuple[CollectionInfo, ...]:
        return await asyncio.to_thread(self._engine.collections, tenant)

    async def drop(self, tenant: str, name: str) -> bool:
        return await asyncio.to_thread(self._engine.drop, tenant, name)

    async def point_alias(self, tenant: str, alias: str, name: str) -> None:
        await asyncio.to_thread(self._engine.point_alias, tenant, alias, name)

    async def drop_alias(self, tenant: str, alias: str) -> bool:
        return await asyncio.to_thread(self._engine.drop_alias, tenant, alias)

    async def add(self, tenant: str, collection: str, rows: tuple[Row, ...]) -> int:
        return await asyncio.to_thread(self._engine.add, tenant, collection, rows)

    async def search(self, tenant: str, collection: str, query: Query) -> SearchAnswer:
        return await asyncio.to_thread(self._engine.search, tenant, collection, query)

    async def documents(
        self, tenant: str, collection: str, document_ids: tuple[str, ...]
    ) -> tuple[StoredDocument, ...]:
        return await asyncio.to_thread(self._engine.documents, tenant, collection, document_ids)

    async def scroll(
        self, tenant: str, collection: str, after: str | None, limit: int, where: Condition | None
    ) -> tuple[StoredDocument, ...]:
        return await asyncio.to_thread(self._engine.scroll, tenant, collection, after, limit, where)

    async def known_contents(
        self, tenant: str, collection: str, content_hashes: tuple[str, ...]
    ) -> dict[str, str]:
        return await asyncio.to_thread(self._engine.known_contents, tenant, collection, content_hashes)

    async def clusters(
        self, tenant: str, collection: str, count: int, where: Condition | None
    ) -> tuple[Cluster, ...]:
        return await asyncio.to_thread(self._engine.clusters, tenant, collection, count, where)

    async def layout(
        self, tenant: str, collection: str, count: int, limit: int, where: Condition | None
    ) -> CollectionMap:
        return await asyncio.to_thread(self._engine.layout, tenant, collection, count, limit, where)

    async def delete(self, tenant: str, collection: str, document_id: str) -> int:
        return await asyncio.to_thread(self._engine.delete, tenant, collection, document_id)

    async def delete_media(self, tenant: str, media_ids: tuple[str, ...]) -> int:
        return await asyncio.to_thread(self._engine.delete_media, tenant, media_ids)

    async def vacuum(self) -> int:
        return await asyncio.to_thread(self._engine.vacuum)

    async def ready(self) -> bool:
        return True


class FakeEngine:
    """``serving.services.ChatEngine`` that answers as vLLM's server does, fields of its own included.

    It calls the function that it must call. Knobs: ``words`` of the answer, ``arguments`` of a call,
    ``unavailable_times`` (raises so often first), ``refusal`` (status and error body),
    ``stall_after``/``die_after``/``error_after`` so many chunks, ``pause_seconds`` between chunks. ``failure`` is
    raised.
    """

    def __init__(self) -> None:
        self.words = ("A ", "cat ", "sits.")
        self.arguments = '{"city": "Paris"}'
        self.failure: Exception | None = None
        self.unavailable_times = 0
        self.refusal: tuple[int, dict[str, Any]] | None = None
        self.stall_after: int | None = None
        self.die_after: int | None = None
        self.error_after: int | None = None
        self.pause_seconds = 0.0
        self.is_ready = True
        self.requests: list[dict[str, Any]] = []
        self.headers: list[Mapping[str, str]] = []
        self.attachments: list[tuple[Attachment, ...]] = []
        self.closed = asyncio.Event()
        self.running = 0

    async def request(
        self,
        method: str,
        path: str,
        headers: Mapping[str, str],
        body: bytes,
        attachments: tuple[Attachment, ...] = (),
    ) -> AsyncIterator[EngineResponse | bytes]:
        if path == "/metrics":
            yield EngineResponse(200, (("content-type", "text/plain"),))
            yield b"vllm:num_requests_running 0.0\n"
            return
        if self.unavailable_times:
            self.unavailable_times -= 1
            raise EngineUnavailable("The model is restarting.")
        if self.failure is not None:
            raise self.failure
        asked = json.loads(body)
        self.requests.append(asked)
        self.headers.append(headers)
        self.attachments.append(attachments)
        self.running += 1
        try:
            if self.refusal is not None:
                status, error = self.refusal
                yield EngineResponse(status, (("content-type", "application/json"),))
                yield json.dumps({"error": error}).encode()
            elif asked.get("stream"):
                yield EngineResponse(200, (("content-type", "text/event-stream; charset=utf-8"),))
                async for event in self._events(asked):
                    yield event
            else:
                yield EngineResponse(200, (("content-type", "application/json"),))
                if self.stall_after is not None:
                    await asyncio.Event().wait()
                yield json.dumps(self._whole(asked)).encode()
        finally:
            self.running -= 1
            self.closed.set()

    async def ready(self) -> bool:
        return self.is_ready

    def _usage(self) -> dict[str, Any]:
        return {
            "prompt_tokens": 200,
            "total_tokens": 203,
            "completion_tokens": 3,
            "prompt_tokens_details": {"cached_tokens": 0, "created_cache_tokens": 128},
        }

    def _whole(self, asked: dict[str, Any]) -> dict[str, Any]:
        message: dict[str, Any] = {
            "role": "assistant",
            "content": "".join(self.words),
            "refusal": None,
            "annotations": None,
            "audio": None,
            "function_call": None,
            "reasoning": None,
        }
        call = self._called(asked)
        if call is not None:
            function = {"name": call[0], "arguments": self.arguments}
            message |= {
                "content": "",
                "tool_calls": [{"id": "call-1", "type": "function", "function": function}],
            }
        choices = [
            {
                "index": index,
                "message": message,
                "logprobs": {"content": [self._logprob(asked, word) for word in self.words]}
                if asked.get("logprobs")
                else None,
                "finish_reason": "stop" if call is None else call[1],
                "stop_reason": None,
                "token_ids": None,
                "routed_experts": None,
            }
            for index in range(asked.get("n") or 1)
        ]
        return {
            "id": "chatcmpl-1",
            "object": "chat.completion",
            "created": 1,
            "model": asked["model"],
            "choices": choices,
            "service_tier": None,
            "system_fingerprint": "vllm-fake",
            "usage": self._usage() | {"completion_tokens_details": None},
            "prompt_logprobs": None,
            "prompt_token_ids": None,
            "kv_transfer_params": None,
        }

    def _called(self, asked: dict[str, Any]) -> tuple[str, str] | None:
        """The function that is called and why the answer then ends, where one must be called."""
        choice = asked.get("tool_choice")
        if isinstance(choice, dict):
            return choice["function"]["name"], "stop"
        return (asked["tools"][0]["function"]["name"], "tool_calls") if choice == "required" else None

    def _logprob(self, asked: dict[str, Any], word: str) -> dict[str, Any]:
        one = {"token": word, "logprob": -0.5, "bytes": list(word.encode())}
        return {**one, "top_logprobs": [one] * min(1, asked.get("top_logprobs") or 0)}

    async def _events(self, asked: dict[str, Any]) -> AsyncIterator[bytes]:
        def event(choices: list[dict[str, Any]], **extra: Any) -> bytes:
            head = {
                "id": "chatcmpl-1",
                "object": "chat.completion.chunk",
                "created": 1,
                "model": asked["model"],
            }
            body = json.dumps({**head, "choices": choices, **extra}, separators=(",", ":"))
            return f"data: {body}\n\n".encode()

        def choice(delta: dict[str, Any], reason: str | None = None) -> list[dict[str, Any]]:
            ends = {} if reason is None else {"stop_reason": None}
            word = delta.get("content")
            logprobs = {"content": [self._logprob(asked, word)]} if asked.get("logprobs") and word else None
            head = {"index": 0, "delta": delta, "logprobs": logprobs, "finish_reason": reason}
            return [{**head, **ends, "token_ids": None}]

        opening = {"role": "assistant", "content": ""}
        yield event(choice(opening), prompt_token_ids=None, prompt_text=None)
        call = self._called(asked)
        if call is not None:
            for part in (
                {"name": call[0]},
                *({"arguments": piece} for piece in self.arguments.partition(":")),
            ):
                started = {"id": "call-1", "type": "function"} if "name" in part else {}
                yield event(
                    choice({"content": None, "tool_calls": [{**started, "index": 0, "function": part}]})
                )
            yield event(choice({}, call[1]))
            if (asked.get("stream_options") or {}).get("include_usage"):
                yield event([], usage=self._usage(), system_fingerprint="vllm-fake")
            yield b"data: [DONE]\n\n"
            return
        for count, word in enumerate(self.words):
            if count == self.stall_after:
                await asyncio.Event().wait()
            if count == self.die_after:
                return
            if count == self.error_after:
                error = {"message": "EngineCore at 10.0.0.3 died", "type": "InternalServerError", "code": 500}
                yield (
                    event(choice({"content": "last "}))
                    + b"data: "
                    + json.dumps({"error": error}).encode()
                    + b"\n\n"
                )
                yield b"data: [DONE]\n\n"
                return
            if self.pause_seconds:
                await asyncio.sleep(self.pause_seconds)
            yield event(choice({"content": word}))
        yield event(choice({"content": ""}, "stop"))
        if (asked.get("stream_options") or {}).get("include_usage"):
            yield event([], usage=self._usage(), system_fingerprint="vllm-fake")
        yield b"data: [DONE]\n\n"


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
