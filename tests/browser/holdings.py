"""What a platform holds before a page looks at it."""

from __future__ import annotations

from typing import Any

import httpx2

from browser.conftest import Site

__all__ = ["ask", "held", "searchable", "write_text"]


def ask(site: Site, method: str, path: str, **request: Any) -> Any:
    """What the API answers, which must be a success."""
    answer = httpx2.request(method, f"{site.url}{path}", timeout=60, **request)
    assert answer.status_code < 300, f"{path}: {answer.text}"
    return answer.json()


def held(site: Site, name: str, content: bytes, **request: Any) -> str:
    """Upload a medium; its id."""
    return str(ask(site, "POST", "/v1/media", files={"file": (name, content)}, **request)["id"])


def searchable(site: Site, name: str, content: bytes, **request: Any) -> str:
    """Upload a medium and put it into the collection in which the page puts what it uploads."""
    media_id = held(site, name, content, **request)
    document = {"media_id": media_id, "id": media_id, "metadata": {"filename": name}}
    ask(site, "POST", "/v1/collections/library/documents", json=document, **request)
    return media_id


def write_text(site: Site, text: str, **more: Any) -> None:
    """Put a text there."""
    ask(site, "POST", "/v1/collections/library/documents", json={"text": text, **more})
