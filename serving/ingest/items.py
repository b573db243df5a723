"""What is ingested, and what became of it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, BinaryIO, Literal

__all__ = ["IngestOptions", "Item", "OcrMode", "OnDuplicate", "Outcome", "Status", "default_document_id"]

OcrMode = Literal["off", "auto", "on"]
OnDuplicate = Literal["skip", "index"]
Status = Literal["indexed", "skipped", "failed"]

_SHOWN_CHARACTERS = 300


@dataclass(frozen=True, slots=True)
class IngestOptions:
    """How a job treats its items.

    ``ocr``: whether the writing in pictures is read, which takes a hundred times as long as looking at them;
    ``auto`` reads those that look like bearing text. Pictures with a side under ``min_side`` pixels are skipped.
    ``on_duplicate``: what becomes of contents that the collection or the job has already. ``metadata`` is of all
    items that do not say otherwise.
    """

    ocr: OcrMode = "off"
    min_side: int = 0
    on_duplicate: OnDuplicate = "skip"
    metadata: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Item:
    """One thing to index: exactly one of a URL, the id of a stored file, a text, or (``upload``) bytes at hand.

    ``number`` is its place in the list. ``problem`` says what is wrong with an entry of a list that names nothing.
    ``written`` is a text that gets one vector together with the medium.
    """

    number: int
    url: str | None = None
    file_id: str | None = None
    text: str | None = None
    upload: Callable[[], BinaryIO] | None = None
    document_id: str | None = None
    filename: str | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    problem: str | None = None
    written: str | None = None

    @property
    def source(self) -> str:
        """What to call it in a report."""
        name = self.url or self.file_id or self.filename or (self.text or "")
        return name if len(name) <= _SHOWN_CHARACTERS else f"{name[:_SHOWN_CHARACTERS]}..."

    @property
    def document(self) -> str:
        """The id of its document: the given one, or one that the same item has every time."""
        return self.document_id or default_document_id(self)

    def ended(self, status: Status, code: str | None = None, message: str | None = None) -> Outcome:
        """Its outcome."""
        return Outcome(self.number, self.document, self.source, status, code, message)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of an item.

    ``code`` and ``message`` say why it was skipped or failed. ``version`` is the table version that holds its
    ``parts``.
    """

    number: int
    document_id: str
    source: str
    status: Status
    code: str | None = None
    message: str | None = None
    parts: int = 0
    version: int | None = None
    media_id: str | None = None

    def written(self, version: int) -> Outcome:
        """With the version it was written in."""
        return replace(self, version=version)


def default_document_id(item: Item) -> str:
    """Of an item without an id: the same source has the same id, so that doing it again replaces."""
    if item.file_id is not None:
        return item.file_id
    kind, content = ("url", item.url) if item.url is not None else ("text", item.text)
    if content is None:
        kind, content = "item", f"{item.number} {item.filename or ''}"
    return f"{kind}-{hashlib.sha256(content.encode('utf-8', 'surrogatepass')).hexdigest()[:32]}"
