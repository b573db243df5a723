"""Indexing and searching over HTTP, in the words of the tests."""

from __future__ import annotations

from typing import Any

import httpx2
from fake_services import fake_embedding

__all__ = ["DOCUMENTS", "document", "found", "found_ids", "index", "text", "upload", "vector"]

DOCUMENTS = "/v1/collections/default/documents"


def text(content: str, **extra: object) -> dict[str, Any]:
    """A query by a text."""
    return {"type": "text", "content": content, **extra}


def document(name: str, **extra: object) -> dict[str, Any]:
    """A query by a document."""
    return {"type": "document", "content": name, **extra}


def vector(content: str, **extra: object) -> dict[str, Any]:
    """A query by the numbers that the encoders make of a text."""
    return {"type": "vector", "content": fake_embedding(content).tolist(), **extra}


async def index(http: httpx2.AsyncClient, path: str = DOCUMENTS, **fields: object) -> dict[str, Any]:
    """Add a document."""
    answer = await http.post(path, json=fields)
    assert answer.status_code == 200, answer.text
    added: dict[str, Any] = answer.json()
    return added


async def upload(http: httpx2.AsyncClient, content: bytes) -> str:
    """Store a medium; its id."""
    answer = await http.post("/v1/media", files={"file": ("a", content)})
    return str(answer.json()["id"])


async def found(http: httpx2.AsyncClient, query: object, **options: object) -> dict[str, Any]:
    """The whole answer to a search."""
    answer = await http.post("/v1/search", json={"query": query, **options})
    assert answer.status_code == 200, answer.text
    whole: dict[str, Any] = answer.json()
    return whole


async def found_ids(http: httpx2.AsyncClient, query: object, **options: object) -> list[str]:
    """The ids of what a search finds, best first."""
    return [hit["id"] for hit in (await found(http, query, **options))["results"]]
