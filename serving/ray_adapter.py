"""Ray Serve handles as the services of ``serving/services.py``. The only file outside ``deploy/`` that knows Ray.

Each adapter calls one deployment through its handle and gives every failure its own name: an exception raised
by a deployment arrives as itself, not as Ray's wrapper around it; a full queue, a lost replica and a silent one
become the typed errors of ``serving.errors``.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Mapping
from contextlib import aclosing
from typing import Any, TypeVar

from ray.exceptions import GetTimeoutError, RayActorError, RayError, RayTaskError, TaskCancelledError
from ray.serve.exceptions import BackPressureError, DeploymentUnavailableError, RayServeException
from ray.serve.handle import DeploymentHandle, DeploymentResponse

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
    VideoTokens,
)
from fusion.types import SoftTokens
from search.filters import Condition
from search.types import (
    Cluster,
    CollectionInfo,
    CollectionSpec,
    Query,
    Row,
    SearchAnswer,
    StoredDocument,
)
from serving.engines.side_channel import BodyAt, read_body
from serving.errors import ApiError, EngineOverloaded, EngineUnavailable, ServiceUnavailable, answer_for
from serving.services import Attachment, EngineResponse
from storage.types import MediaRef

__all__ = ["RayBridge", "RayChatEngine", "RayPerception", "RaySearchIndex"]

T = TypeVar("T")
_LOG = logging.getLogger(__name__)


class _Caller:
    """One handle, its name in error sentences, and how long an answer may take."""

    def __init__(self, handle: DeploymentHandle, service: str, timeout_seconds: float) -> None:
        self._handle = handle
        self._service = service
        self._timeout_seconds = timeout_seconds

    async def call(self, method: str, *arguments: Any) -> Any:
        return await self.answer(getattr(self._handle, method).remote(*arguments))

    async def answer(self, response: DeploymentResponse[Any], *before: DeploymentResponse[Any]) -> Any:
        """What a call that was begun gives; ``before`` are calls whose results it waits for."""

        def cancel() -> None:
            for begun in (response, *before):
                begun.cancel()

        try:
            return await asyncio.wait_for(_as_awaitable(response), self._timeout_seconds)
        except (RayError, RayServeException) as error:
            # First: Ray's wrapper of a remote TimeoutError or CancelledError is one of these, too.
            raise _translate(error, self._service) from None
        except TimeoutError:
            cancel()
            raise self._too_slow() from None
        except asyncio.CancelledError:
            if not _is_cancelled():
                raise _restarting(self._service) from None
            cancel()
            raise

    async def stream(self, method: str, *arguments: Any) -> AsyncGenerator[Any, None]:
        """What a streaming method gives, each item within the time limit. Closing it cancels the call."""
        answer = getattr(self._handle.options(stream=True), method).remote(*arguments)
        items = aiter(answer)
        finished = False
        try:
            while True:
                async with asyncio.timeout(self._timeout_seconds):
                    try:
                        item = await anext(items)
                    except StopAsyncIteration:
                        break
                yield item
            finished = True
        except (RayError, RayServeException) as error:
            finished = True
            raise _translate(error, self._service) from None
        except TimeoutError:
            raise self._too_slow() from None
        except asyncio.CancelledError:
            if _is_cancelled():
                raise
            finished = True
            raise _restarting(self._service) from None
        finally:
            if not finished:
                answer.cancel()

    async def ready(self) -> bool:
        return bool(await self.call("ready"))

    def _too_slow(self) -> ServiceUnavailable:
        return ServiceUnavailable(
            f"{self._service} did not answer within {self._timeout_seconds:g} seconds. "
            "Please try again, or with smaller media."
        )


class RayPerception(_Caller):
    """``serving.services.Perception`` over a handle.

    With ``shared``, results lie in Ray's object store and not in the messages: for pixels, which are large.
    """

    def __init__(self, handle: DeploymentHandle, timeout_seconds: float, *, shared: bool = False) -> None:
        super().__init__(
            _by_reference(handle) if shared else handle, "The media encoders' service", timeout_seconds
        )

    async def probe(self, media: MediaRef) -> MediaInfo:
        result: MediaInfo = await self.call("probe", media)
        return result

    async def look(
        self, media: tuple[MediaRef, ...], quality: Quality = Quality.FAST, min_side: int = 0
    ) -> tuple[SeenMedium | Exception, ...]:
        result: tuple[SeenMedium | Exception, ...] = await self.call("look", media, quality, min_side)
        return result

    async def encode_image(self, media: MediaRef, quality: Quality = Quality.FAST) -> EncodedImage:
        result: EncodedImage = await self.call("encode_image", media, quality)
        return result

    async def read_text(self, media: MediaRef) -> tuple[TextLine, ...]:
        result: tuple[TextLine, ...] = await self.call("read_text", media)
        return result

    async def encode_video(self, media: MediaRef, sampling: FrameSampling) -> EncodedVideo:
        result: EncodedVideo = await self.call("encode_video", media, sampling)
        return result

    async def transcribe(self, media: MediaRef, options: TranscribeOptions) -> Transcript:
        result: Transcript = await self.call("transcribe", media, options)
        return result

    async def transcript_parts(
        self, media: MediaRef, options: TranscribeOptions
    ) -> AsyncGenerator[TranscriptPart, None]:
        async with aclosing(self.stream("transcript_parts", media, options)) as parts:
            async for part in parts:
                yield part

    async def image_tokens(self, media: MediaRef, views: int = 1) -> ImageTokens:
        result: ImageTokens = await self.call("image_tokens", media, views)
        return result

    async def video_tokens(self, media: MediaRef, sampling: FrameSampling) -> VideoTokens:
        result: VideoTokens = await self.call("video_tokens", media, sampling)
        return result

    async def audio_tokens(self, media: MediaRef) -> AudioTokens:
        result: AudioTokens = await self.call("audio_tokens", media)
        return result

    async def picture(self, media: MediaRef, max_side: int) -> Pixels:
        result: Pixels = await self.call("picture", media, max_side)
        return result

    async def film(self, media: MediaRef, sampling: FrameSampling) -> Film:
        result: Film = await self.call("film", media, sampling)
        return result

    async def sound(self, media: MediaRef) -> Sound:
        result: Sound = await self.call("sound", media)
        return result

    async def fingerprint(self, media: MediaRef) -> str:
        return str(await self.call("fingerprint", media))

    async def thumbnail(self, media: MediaRef, max_side: int) -> bytes:
        return bytes(await self.call("thumbnail", media, max_side))

    async def embed_texts(self, texts: tuple[str, ...]) -> Embeddings:
        result: Embeddings = await self.call("embed_texts", texts)
        return result

    async def moderate_texts(self, texts: tuple[str, ...]) -> tuple[ModerationScores, ...]:
        result: tuple[ModerationScores, ...] = await self.call("moderate_texts", texts)
        return result

    async def moderate_image(self, media: MediaRef) -> ModerationScores:
        result: ModerationScores = await self.call("moderate_image", media)
        return result

    async def moderate_video(self, media: MediaRef, sampling: FrameSampling) -> ModerationScores:
        result: ModerationScores = await self.call("moderate_video", media, sampling)
        return result

    async def speak(self, options: SpeakOptions) -> AsyncGenerator[bytes | Spoken, None]:
        async with aclosing(self.stream("speak", options)) as pieces:
            async for piece in pieces:
                yield piece

    async def metrics(self) -> bytes:
        return bytes(await self.call("metrics"))


class RayBridge(_Caller):
    """``serving.services.Bridge`` over the handles of the encoders and of the bridge.

    The encoders' tokens go from replica to replica through Ray's object store; who calls this never holds them.
    """

    def __init__(
        self, perception: DeploymentHandle, bridge: DeploymentHandle, timeout_seconds: float
    ) -> None:
        super().__init__(_by_reference(bridge), "The bridge to the model", timeout_seconds)
        self._perception = _by_reference(perception)

    async def soft_image(self, media: MediaRef, views: int = 1) -> SoftTokens:
        tokens = self._perception.image_tokens.remote(media, views)
        result: SoftTokens = await self.answer(self._handle.project_image.remote(tokens), tokens)
        return result

    async def soft_video(self, media: MediaRef, sampling: FrameSampling) -> SoftTokens:
        tokens = self._perception.video_tokens.remote(media, sampling)
        result: SoftTokens = await self.answer(self._handle.project_video.remote(tokens), tokens)
        return result

    async def soft_audio(self, media: MediaRef) -> SoftTokens:
        tokens = self._perception.audio_tokens.remote(media)
        result: SoftTokens = await self.answer(self._handle.project_audio.remote(tokens), tokens)
        return result


class RaySearchIndex(_Caller):
    """``serving.services.SearchIndex`` over a handle."""

    def __init__(self, handle: DeploymentHandle, timeout_seconds: float) -> None:
        super().__init__(handle, "Search", timeout_seconds)

    async def create(self, tenant: str, name: str, spec: CollectionSpec | None) -> CollectionInfo:
        result: CollectionInfo = await self.call("create", tenant, name, spec)
        return result

    async def describe(self, tenant: str, collection: str) -> CollectionInfo:
        result: CollectionInfo = await self.call("describe", tenant, collection)
        return result

    async def collections(self, tenant: str) -> tuple[CollectionInfo, ...]:
        result: tuple[CollectionInfo, ...] = await self.call("collections", tenant)
        return result

    async def drop(self, tenant: str, name: str) -> bool:
        return bool(await self.call("drop", tenant, name))

    async def point_alias(self, tenant: str, alias: str, name: str) -> None:
        await self.call("point_alias", tenant, alias, name)

    async def drop_alias(self, tenant: str, alias: str) -> bool:
        return bool(await self.call("drop_alias", tenant, alias))

    async def add(self, tenant: str, collection: str, rows: tuple[Row, ...]) -> int:
        return int(await self.call("add", tenant, collection, rows))

    async def search(self, tenant: str, collection: str, query: Query) -> SearchAnswer:
        result: SearchAnswer = await self.call("search", tenant, collection, query)
        return result

    async def documents(
        self, tenant: str, collection: str, document_ids: tuple[str, ...]
    ) -> tuple[StoredDocument, ...]:
        result: tuple[StoredDocument, ...] = await self.call("documents", tenant, collection, document_ids)
        return result

    async def scroll(
        self, tenant: str, collection: str, after: str | None, limit: int, where: Condition | None
    ) -> tuple[StoredDocument, ...]:
        result: tuple[StoredDocument, ...] = await self.call(
            "scroll", tenant, collection, after, limit, where
        )
        return result

    async def known_contents(
        self, tenant: str, collection: str, content_hashes: tuple[str, ...]
    ) -> dict[str, str]:
        result: dict[str, str] = await self.call("known_contents", tenant, collection, content_hashes)
        return result

    async def clusters(
        self, tenant: str, collection: str, count: int, where: Condition | None
    ) -> tuple[Cluster, ...]:
        result: tuple[Cluster, ...] = await self.call("clusters", tenant, collection, count, where)
        return result

    async def delete(self, tenant: str, collection: str, document_id: str) -> int:
        return int(await self.call("delete", tenant, collection, document_id))

    async def delete_media(self, tenant: str, media_ids: tuple[str, ...]) -> int:
        return int(await self.call("delete_media", tenant, media_ids))

    async def vacuum(self) -> int:
        return int(await self.call("vacuum"))


class RayChatEngine:
    """``serving.services.ChatEngine`` over a streaming handle.

    ``beside`` takes streamed bodies from the engine replica's side channel; both must run on one machine.
    """

    def __init__(self, handle: DeploymentHandle, timeout_seconds: float, *, beside: bool = False) -> None:
        self._stream = handle.options(stream=True)
        self._caller = _Caller(handle, "The model", timeout_seconds)
        self._beside = beside

    async def request(
        self,
        method: str,
        path: str,
        headers: Mapping[str, str],
        body: bytes,
        attachments: tuple[Attachment, ...] = (),
    ) -> AsyncGenerator[EngineResponse | bytes, None]:
        """See ``ChatEngine.request``; closing the iterator cancels the call in the engine's replica."""
        answer = self._stream.request.remote(method, path, dict(headers), body, self._beside, attachments)
        finished = False
        try:
            async for item in answer:
                if isinstance(item, BodyAt):
                    async with aclosing(read_body(item)) as chunks:
                        async for chunk in chunks:
                            yield chunk
                else:
                    yield item
            finished = True
        except asyncio.CancelledError:
            if _is_cancelled():
                raise
            finished = True
            raise EngineUnavailable(_restarting("The model").message) from None
        except BackPressureError:
            finished = True
            raise EngineOverloaded("The model's queue is full. Please try again in a few seconds.") from None
        except (RayError, RayServeException) as error:
            finished = True
            failure = _translate(error, "The model")
            if type(failure) is ServiceUnavailable:
                failure = EngineUnavailable(failure.message)
            raise failure from None
        finally:
            if not finished:
                answer.cancel()

    async def ready(self) -> bool:
        """Whether the engine accepts requests."""
        return await self._caller.ready()


def _by_reference(handle: DeploymentHandle) -> DeploymentHandle:
    """The handle with results in Ray's object store. The platform's default sends them inside the messages, and one
    that is an argument of another call would come here first.
    """
    return handle.options(_by_reference=True)


async def _as_awaitable(response: Awaitable[T]) -> T:
    # asyncio.wait_for wants a coroutine it can cancel; Ray's response is only awaitable.
    return await response


def _is_cancelled() -> bool:
    """Whether this task is being cancelled. Ray raises ``CancelledError`` for a remote cancellation, too."""
    task = asyncio.current_task()
    return task is None or task.cancelling() > 0


def _restarting(service: str) -> ServiceUnavailable:
    return ServiceUnavailable(f"{service} is restarting. Please try again in a minute.")


def _translate(error: Exception, service: str) -> Exception:
    """The error a caller may see. What no table of ours knows keeps its words to the log."""
    if isinstance(error, RayTaskError):
        cause = error.cause
        while isinstance(cause, RayTaskError):
            cause = cause.cause
        if isinstance(cause, Exception) and answer_for(cause) is not None:
            return cause
        if isinstance(cause, asyncio.CancelledError):
            return _restarting(service)
        _LOG.error("%s failed unexpectedly: %s", service, error)
        return ApiError(f"{service} failed unexpectedly. Please try again, or tell the operator.")
    if isinstance(error, BackPressureError):
        return ServiceUnavailable(f"{service} is busy: its queue is full. Please try again in a few seconds.")
    if isinstance(error, RayActorError | DeploymentUnavailableError | GetTimeoutError | TaskCancelledError):
        return _restarting(service)
    _LOG.error("%s cannot be reached: %s", service, error)
    return ServiceUnavailable(f"{service} cannot be reached. Please try again in a minute.")
