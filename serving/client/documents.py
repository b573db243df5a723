"""``/v1/collections/{collection}/documents``: what a collection holds."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from typing import Any

from serving.client.calls import AsyncResource, SyncResource, call, listed, planned
from serving.client.found import (
    Document,
    DocumentBatch,
    DocumentDeleted,
    IndexedDocument,
    ListPage,
    NearDuplicateList,
)
from serving.client.requests import Request, Upload
from serving.client.sending import Plan

__all__ = ["AsyncDocuments", "Documents"]

_BATCH_DOCUMENTS = 128


class DocumentCalls:
    """Documents of collections."""

    @call(IndexedDocument, "POST /collections/{collection}/documents")
    def add(
        self,
        collection: str,
        *,
        text: str | None = None,
        media_id: str | None = None,
        vectors: Mapping[str, Sequence[float]] | None = None,
        modality: str | None = None,
        id: str | None = None,  # noqa: A002 - its name in the API
        metadata: Mapping[str, Any] | None = None,
    ) -> Request:
        """Make a stored medium, a text, both together, or vectors of your own searchable.

        An ``id`` used before is replaced. Without one it is the medium's, else a new one.
        """
        if id is None and media_id is None:
            id = _new_id()  # noqa: A001 - its name in the API
        numbers = None if vectors is None else {name: list(vector) for name, vector in vectors.items()}
        body = {"text": text, "media_id": media_id, "vectors": numbers, "modality": modality, "id": id}
        return Request({"collection": collection}, body={**body, "metadata": metadata})

    @call(DocumentBatch, "POST /collections/{collection}/documents/batch")
    def add_batch(
        self,
        collection: str,
        documents: Iterable[Mapping[str, Any]],
        *,
        ocr: str | None = None,
        min_side: int | None = None,
        on_duplicate: str | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> Request:
        """Index up to 128 at once; what is wrong with one is said in its place.

        Each is ``{"file" | "url" | "file_id" | "text", "id", "filename", "metadata"}``, where ``file`` is a path,
        bytes, an open file, or a name and one of these. ``ocr`` is ``off``, ``auto`` or ``on``, ``on_duplicate``
        ``skip`` or ``index``; pictures with a side of fewer than ``min_side`` pixels are skipped.
        """
        files: dict[str, Upload] = {}
        items = []
        for document in documents:
            item = dict(document)
            if "file" in item:
                field = f"file{len(files)}"
                files[field], item["file"] = item["file"], field
                item.setdefault("id", _new_id())
            items.append(item)
        options = {"ocr": ocr, "min_side": min_side, "on_duplicate": on_duplicate, "metadata": metadata}
        body = {"documents": items, **{name: value for name, value in options.items() if value is not None}}
        return Request(
            {"collection": collection},
            body={"request": json.dumps(body)} if files else body,
            files=files,
        )

    @planned
    def add_many(
        self,
        collection: str,
        documents: Iterable[Mapping[str, Any]],
        *,
        ocr: str | None = None,
        min_side: int | None = None,
        on_duplicate: str | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> Plan[DocumentBatch]:
        """As ``add_batch``, for any number: batches of 128, one after the other.

        When one fails its error is raised; those before it are indexed. What is there already is skipped
        (``on_duplicate``), so calling again goes on.
        """
        whole = DocumentBatch(object="document.batch", collection=collection, version=None, data=[])
        rest = iter(documents)
        while some := list(islice(rest, _BATCH_DOCUMENTS)):
            part: DocumentBatch = yield DocumentCalls.add_batch.ask(
                collection,
                some,
                ocr=ocr,
                min_side=min_side,
                on_duplicate=on_duplicate,
                metadata=metadata,
            )
            whole.data += part.data
            whole.version = part.version if part.version is not None else whole.version
        return whole

    @listed(ListPage[Document], "GET /collections/{collection}/documents")
    def list(
        self,
        collection: str,
        *,
        filters: Mapping[str, Any] | None = None,
        include: Sequence[str] | None = None,
        limit: int | None = None,
        after: str | None = None,
    ) -> Request:
        """All documents in order of id. ``limit`` is the size of a page (1 to 100).

        ``include`` is of ``metadata``, ``url``, ``parts`` and ``vector``.
        """
        shown = None if filters is None else json.dumps(filters)
        wanted = None if include is None else [*include]
        query = {"filters": shown, "include": wanted, "limit": limit, "after": after}
        return Request({"collection": collection}, query=query)

    @call(ListPage[Document], "GET /collections/{collection}/documents")
    def get_many(
        self, collection: str, ids: Sequence[str], *, include: Sequence[str] | None = None
    ) -> Request:
        """Those of up to 100 ids, in their order, as far as they are there: ``data`` of the answer."""
        wanted = None if include is None else [*include]
        return Request({"collection": collection}, query={"id": [*ids], "include": wanted})

    @call(Document, "GET /collections/{collection}/documents/{document_id}")
    def get(self, collection: str, document_id: str, *, include: Sequence[str] | None = None) -> Request:
        """One with its parts; ``include``: ``metadata``, ``url``, ``parts``, ``vector``."""
        wanted = None if include is None else [*include]
        return Request({"collection": collection, "document_id": document_id}, query={"include": wanted})

    @call(DocumentDeleted, "DELETE /collections/{collection}/documents/{document_id}")
    def delete(self, collection: str, document_id: str) -> Request:
        """Remove one; the medium stays. A missing one is removed already."""
        return Request({"collection": collection, "document_id": document_id})

    @call(NearDuplicateList, "GET /collections/{collection}/documents/{document_id}/near-duplicates")
    def near_duplicates(
        self,
        collection: str,
        document_id: str,
        *,
        threshold: float | None = None,
        limit: int | None = None,
    ) -> Request:
        """Documents of the same type that are nearly the same; ``threshold`` 0 to 1 (0.95), ``limit`` 1 to 100."""
        return Request(
            {"collection": collection, "document_id": document_id},
            query={"threshold": threshold, "limit": limit},
        )


class Documents(DocumentCalls, SyncResource):
    """``client.documents``."""


class AsyncDocuments(DocumentCalls, AsyncResource):
    """``client.documents``, to be awaited."""


def _new_id() -> str:
    """As the server makes them up; made here, so that a repeated request makes no second document."""
    return f"doc-{secrets.token_hex(16)}"
