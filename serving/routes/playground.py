"""``/`` and ``/assets``: the playground, a page over the API that needs nothing from anywhere else.

The page is no secret and needs no key: what it asks the API for does.
"""

from __future__ import annotations

from typing import Final

from fastapi import APIRouter, HTTPException, Request
from starlette.responses import Response

from serving.byte_range import matches_etag
from serving.playground_files import PAGE, WebFile, web_files

__all__ = ["HEADERS", "router"]

router = APIRouter(include_in_schema=False)

_POLICY: Final = (
    "default-src 'none'",
    "script-src 'self'",
    "style-src 'self'",
    "connect-src 'self'",
    "img-src 'self' blob: data:",
    "media-src 'self' blob:",
    "base-uri 'none'",
    "form-action 'none'",
    "frame-ancestors 'none'",
    "require-trusted-types-for 'script'",  # no string becomes markup or code, whoever it came from
    "trusted-types 'none'",
)

HEADERS: Final = {
    "content-security-policy": "; ".join(_POLICY),
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "permissions-policy": "microphone=(self), camera=(), geolocation=(), payment=(), usb=()",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-cache",  # kept, and asked for again: after an update nobody runs half of the old page
}
"""Sent with the page and all of its files."""


@router.head("/")
@router.get("/")
async def page(request: Request) -> Response:
    """The playground."""
    return _answer(request, web_files()[PAGE])


@router.head("/assets/{name:path}")
@router.get("/assets/{name:path}")
async def asset(request: Request, name: str) -> Response:
    """One of its files."""
    file = web_files().get(name) if name != PAGE else None
    if file is None:
        raise HTTPException(404)
    return _answer(request, file)


def _answer(request: Request, file: WebFile) -> Response:
    headers = HEADERS | {"etag": file.etag}
    if matches_etag(request.headers.get("if-none-match", ""), file.etag):
        return Response(status_code=304, headers=headers)
    headers["content-length"] = str(len(file.content))
    content = b"" if request.method == "HEAD" else file.content
    return Response(content, headers=headers, media_type=file.content_type)
