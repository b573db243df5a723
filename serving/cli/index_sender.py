"""Sending many things to the platform: in batches, several at once, again when that may help."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from serving.cli.failures import NoServer, RequestRefused, UnusableInput
from serving.cli.index_sources import Source
from serving.cli.inputs import as_text
from serving.cli.inputs import opened as opened_file

if TYPE_CHECKING:
    from serving.cli.client import Server

__all__ = ["Sender", "Sent"]

_BATCH_ITEMS = 32
_BATCH_BYTES = 16 << 20
_ATTEMPTS = 6
_FIRST_DELAY_SECONDS, _MOST_DELAY_SECONDS = 0.5, 20.0
_PASSING = frozenset({408, 425, 429, 502, 503, 504})


@dataclass(frozen=True, slots=True)
class Sent:
    """What became of a source, and what it was like when it was sent."""

    source: Source
    stamp: str
    status: str
    code: str | None = None
    message: str | None = None
    answer: Mapping[str, Any] | None = None


class Sender:
    """Sends to one collection. ``options`` are those of the batch request."""

    def __init__(
        self,
        server: Server,
        collection: str,
        options: Mapping[str, Any],
        concurrency: int,
        first_delay_seconds: float = _FIRST_DELAY_SECONDS,
    ) -> None:
        self._server = server
        self._collection = collection
        self._options = options
        self._concurrency = concurrency
        self._first_delay_seconds = first_delay_seconds
        self._was_reached = False

    def send(self, sources: Iterable[Source]) -> Iterator[list[Sent]]:
        """Send all, ``concurrency`` batches at a time; what became of each batch, as it ends.

        Raises ``NoServer`` when nobody answers in spite of several attempts: the others would fare no better.
        """
        batches = _batches(sources)
        pool = ThreadPoolExecutor(self._concurrency, thread_name_prefix="index")
        running: set[Future[list[Sent]]] = set()
        try:
            for batch in batches:
                running.add(pool.submit(self._send, batch))
                if len(running) > self._concurrency:
                    done, running = wait(running, return_when=FIRST_COMPLETED)
                    for future in done:
                        yield future.result()
            while running:
                done, running = wait(running, return_when=FIRST_COMPLETED)
                for future in done:
                    yield future.result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)

    def _send(self, batch: Sequence[Source]) -> list[Sent]:
        ended: list[Sent] = []
        documents: list[dict[str, Any]] = []
        sending: list[tuple[Source, str]] = []
        with ExitStack() as opened:
            for source in batch:
                stamp = source.stamp()
                try:
                    documents.append(_document(source, opened))
                    sending.append((source, stamp))
                except UnusableInput as failure:
                    ended.append(Sent(source, stamp, "failed", "unusable", failure.message))
            if not documents:
                return ended
            try:
                answers = self._posted(documents)
            except RequestRefused as refusal:
                answers = None
                message = refusal.message
        if answers is not None:
            return ended + [
                _sent(source, stamp, answer) for (source, stamp), answer in zip(sending, answers, strict=True)
            ]
        if len(sending) == 1:
            source, stamp = sending[0]
            return [*ended, Sent(source, stamp, "failed", "refused", message)]
        # One of them is to blame; the others must not suffer from that.
        return ended + [one for source, _ in sending for one in self._send([source])]

    def _posted(self, documents: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        from tenacity import Retrying, retry_if_exception, stop_after_attempt, wait_random_exponential

        attempts = Retrying(
            stop=stop_after_attempt(_ATTEMPTS),
            wait=wait_random_exponential(multiplier=self._first_delay_seconds, max=_MOST_DELAY_SECONDS),
            retry=retry_if_exception(self._may_pass),
            reraise=True,
        )
        for attempt in attempts:
            with attempt:
                for document in documents:
                    if "file" in document:
                        document["file"][1].seek(0)
                answers = self._server.add_documents(self._collection, documents, self._options)
                self._was_reached = True
                return answers
        raise AssertionError("tenacity ends with a result or an error")

    def _may_pass(self, error: BaseException) -> bool:
        if isinstance(error, RequestRefused):
            return error.status in _PASSING
        # A server that never answered is not one that restarts.
        return isinstance(error, NoServer) and self._was_reached


def _batches(sources: Iterable[Source]) -> Iterator[list[Source]]:
    batch: list[Source] = []
    size_bytes = 0
    for source in sources:
        more_bytes = source.size_bytes()
        if batch and (len(batch) == _BATCH_ITEMS or size_bytes + more_bytes > _BATCH_BYTES):
            yield batch
            batch, size_bytes = [], 0
        batch.append(source)
        size_bytes += more_bytes
    if batch:
        yield batch


def _document(source: Source, opened: ExitStack) -> dict[str, Any]:
    if source.problem is not None:
        raise UnusableInput(source.problem)
    document: dict[str, Any] = {**source.entry, "id": source.id}
    path = source.path
    if path is None:
        return document
    document["metadata"] = {
        "filename": as_text(path.name),
        "path": as_text(path.resolve()),
        **source.entry.get("metadata", {}),
    }
    document.pop("filename", None)
    if source.is_text:
        document["text"] = _text(path)
        return document
    document["file"] = opened.enter_context(opened_file(path))
    return document


def _text(path: Path) -> str:
    try:
        text = path.read_text("utf-8")
    except UnicodeDecodeError:
        raise UnusableInput("The file is not UTF-8 text.") from None
    except OSError as error:
        raise UnusableInput(f"The file cannot be read: {error.strerror or error}.") from None
    if not text.strip():
        raise UnusableInput("The file holds no words.")
    return text


def _sent(source: Source, stamp: str, answer: Mapping[str, Any]) -> Sent:
    error = answer.get("error") or {}
    return Sent(source, stamp, str(answer["status"]), error.get("code"), error.get("message"), answer)
