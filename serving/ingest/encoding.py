"""The third stage: a group of stored items becomes rows, with as few calls of the encoders as possible."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice

from encoders.types import MediaInfo, MediaKind, SeenMedium, TextLine
from fusion.types import PerceivedMedium
from fusion.vector_gate import VectorGate
from search.types import Row, Vector
from serving.admission import AdmittedMedia
from serving.concurrency import all_of
from serving.document_rows import media_rows, mixed_row, passages, spoken, text_rows
from serving.ingest.arrival import Stored
from serving.ingest.config import IngestConfig
from serving.ingest.failures import failed
from serving.ingest.items import IngestOptions, Outcome
from serving.ingest.retries import Retries, is_own_trouble, may_pass
from serving.ingest.written_pictures import looks_written
from serving.media_vectors import mixed_vector
from serving.moderation.gate import Guard
from serving.perceiver import Perceiver
from storage.records import id_time_seconds
from storage.types import MediaRef

__all__ = ["Encoded", "Encoding"]

_log = logging.getLogger("manymodal.gateway")


@dataclass(frozen=True, slots=True)
class Encoded:
    """An item with the rows of its document, and its medium as the encoders know it."""

    stored: Stored
    rows: tuple[Row, ...]
    ref: MediaRef | None


class Encoding:
    """Encodes the items of one job, but for those that ``guard`` does not let through. Use from one event loop."""

    def __init__(
        self,
        perceiver: Perceiver,
        gate: VectorGate,
        config: IngestConfig,
        tenant: str,
        options: IngestOptions,
        guard: Guard | None = None,
    ) -> None:
        self._perceiver = perceiver
        self._gate = gate
        self._retries = Retries(config)
        self._tenant = tenant
        self._options = options
        self._guard = guard
        self._keep_labels = config.keep_labels
        self._slow = asyncio.Semaphore(config.media_concurrency)

    async def encode(self, group: Sequence[Stored]) -> tuple[list[Encoded], list[tuple[Stored, Outcome]]]:
        """Rows of what could be encoded, and the ends of the others."""
        group, ended = await self._let_in(group)
        media = [stored for stored in group if stored.ref is not None]
        perceived: list[tuple[Stored, PerceivedMedium]] = []
        for stored, result in await self._perceived(media):
            if isinstance(result, Outcome):
                ended.append((stored, result))
            else:
                perceived.append((stored, result))
        texts = [stored for stored in group if stored.text is not None]
        parts = await asyncio.to_thread(lambda: [list(passages(stored.text or "")) for stored in texts])
        spoken_texts = [[one.text.strip() for one in spoken(medium)] for _, medium in perceived]
        vectors = await self._vectors([*parts, *spoken_texts])
        encoded: list[Encoded] = []
        for stored, some, made in zip(texts, parts, vectors[: len(texts)], strict=True):
            item = stored.item
            try:
                if isinstance(made, Exception):
                    raise made
                rows = text_rows(item.document, stored.text or "", some, made, self._metadata(stored))
                encoded.append(Encoded(stored, rows, None))
            except Exception as error:
                ended.append((stored, failed(item, error)))
        for (stored, medium), made in zip(perceived, vectors[len(texts) :], strict=True):
            try:
                if isinstance(made, Exception):
                    raise made
                encoded.append(await self._media_encoded(stored, medium, made))
            except Exception as error:
                ended.append((stored, failed(stored.item, error)))
        return encoded, ended

    async def _media_encoded(self, stored: Stored, medium: PerceivedMedium, vectors: list[Vector]) -> Encoded:
        ref = _typed(stored, medium.info)
        created = id_time_seconds(ref.id) if stored.record is None else stored.record.created_at_seconds
        if stored.item.written is not None and stored.record is not None:
            text, admitted = stored.item.written, AdmittedMedia(stored.record, medium.info)
            fused = await self._retries.run(
                lambda: mixed_vector(self._perceiver, self._gate, self._tenant, admitted, text)
            )
            document, metadata = stored.item.document, self._metadata(stored)
            row = mixed_row(document, ref, created, medium, text, fused.vector, metadata)
            return Encoded(stored, (row,), ref)
        rows = media_rows(stored.item.document, ref, created, medium, vectors, self._metadata(stored))
        return Encoded(stored, rows, ref)

    def _metadata(self, stored: Stored) -> dict[str, object]:
        named = {} if stored.filename is None else {"filename": stored.filename}
        return {**named, **self._options.metadata, **stored.item.metadata}

    async def _vectors(self, wanted: Sequence[list[str]]) -> list[list[Vector] | Exception]:
        """Vectors of each item's texts, or what is wrong with them: one bad text must not take the others along."""
        try:
            made = iter(await self._embedded([text for texts in wanted for text in texts]))
        except Exception as error:
            if is_own_trouble(error):
                raise
            if len(wanted) == 1:
                return [error]
            return [one for texts in wanted for one in await self._vectors([texts])]
        return [list(islice(made, len(texts))) for texts in wanted]

    async def _embedded(self, texts: list[str]) -> list[Vector]:
        if not texts:
            return []
        return list(
            (await self._retries.run(lambda: self._perceiver.embed_texts(self._tenant, tuple(texts)))).vectors
        )

    async def _perceived(self, media: Sequence[Stored]) -> list[tuple[Stored, PerceivedMedium | Outcome]]:
        seen = await self._seen(media)
        return await all_of(self._finished(stored, one) for stored, one in zip(media, seen, strict=True))

    async def _seen(self, media: Sequence[Stored]) -> list[SeenMedium | Exception]:
        """One look at all of them; again at those whose trouble may pass."""
        refs = [stored.ref for stored in media if stored.ref is not None]
        seen: list[SeenMedium | Exception] = []
        waiting = list(range(len(refs)))
        attempt = 0
        while waiting:
            attempt += 1
            asked = [refs[index] for index in waiting]
            answers = await self._retries.run(
                lambda asked=asked: self._perceiver.look(  # type: ignore[misc]  # mypy knows no types of such defaults
                    asked, self._options.min_side, keep=self._keep_labels
                )
            )
            if attempt == 1:
                seen = list(answers)
            for index, answer in zip(waiting, answers, strict=True):
                seen[index] = answer
            waiting = [
                index for index in waiting if isinstance(one := seen[index], Exception) and may_pass(one)
            ]
            if attempt == self._retries.attempts:
                break
            if waiting:
                await asyncio.sleep(self._retries.pause_seconds(attempt))
        return seen

    async def _finished(
        self, stored: Stored, seen: SeenMedium | Exception
    ) -> tuple[Stored, PerceivedMedium | Outcome]:
        """What a look leaves to be done: reading, frames, speech."""
        item, ref = stored.item, stored.ref
        try:
            if isinstance(seen, Exception) or ref is None:
                raise seen if isinstance(seen, Exception) else AssertionError("a medium has a reference")
            info = seen.info
            if info.kind is not MediaKind.IMAGE:
                async with self._slow:
                    heard = await self._retries.run(lambda: self._heard(_typed(stored, info), info))
                await self._looked_through(_typed(stored, info), heard)
                return stored, heard
            if seen.image is None:
                return stored, item.ended(
                    "skipped",
                    "too_small",
                    f"The picture is {info.width}x{info.height}; both sides must have {self._options.min_side} "
                    "pixels at least.",
                )
            lines: tuple[TextLine, ...] = ()
            if self._options.ocr == "on" or (
                self._options.ocr == "auto" and looks_written(seen.image.labels)
            ):
                async with self._slow:
                    lines = await self._retries.run(lambda: self._read(ref))
            read = PerceivedMedium(ref.id, info, seen.image, lines, None, None)
            await self._looked_through(_typed(stored, info), read)
            return stored, read
        except Exception as error:
            return stored, failed(item, error)

    async def _let_in(self, group: Sequence[Stored]) -> tuple[list[Stored], list[tuple[Stored, Outcome]]]:
        """Those whose texts may pass, and the ends of the others."""
        guard = self._guard
        if guard is None:
            return list(group), []
        texts = [stored.text or stored.item.written or "" for stored in group]
        refusals = await self._retries.run(lambda: guard.refusals(texts))
        passed: list[Stored] = []
        ended: list[tuple[Stored, Outcome]] = []
        for stored, refusal in zip(group, refusals, strict=True):
            if refusal is None:
                passed.append(stored)
            else:
                ended.append((stored, failed(stored.item, refusal)))
        return passed, ended

    async def _looked_through(self, ref: MediaRef, medium: PerceivedMedium) -> None:
        """Raises ``ContentRefused`` for a medium that may not pass."""
        guard = self._guard
        if guard is not None:
            found = medium.text_lines, medium.transcript
            await self._retries.run(lambda: guard.perceived(ref, medium.info, *found, None))

    async def _heard(self, ref: MediaRef, info: MediaInfo) -> PerceivedMedium:
        return (await self._perceiver.perceive(ref, info, ocr=False)).medium

    async def _read(self, ref: MediaRef) -> tuple[TextLine, ...]:
        return (await self._perceiver.read_text(ref))[0]


def _typed(stored: Stored, info: MediaInfo) -> MediaRef:
    """The medium under the content type that its header says."""
    ref = stored.ref
    if ref is None:
        raise AssertionError("a medium has a reference")
    if stored.record is not None or ref.content_type == info.content_type:
        return ref
    return MediaRef(ref.id, ref.tenant, ref.sha256, ref.size_bytes, info.content_type)
