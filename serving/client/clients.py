"""The two clients."""

from __future__ import annotations

import ipaddress
import os
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

import openai

from serving.client.calls import AsyncResource, SyncResource
from serving.client.collections import AsyncCollections, Collections
from serving.client.documents import AsyncDocuments, Documents
from serving.client.ingest import AsyncIngest, Ingest
from serving.client.media import AsyncMedia, Media
from serving.client.search import RootCalls
from serving.client.tenants import AsyncTenants, Tenants
from serving.client.understanding import AsyncAudio, AsyncVideo, Audio, Video

__all__ = ["DEFAULT_URL", "AsyncManymodal", "Manymodal", "base_url_of", "is_loopback"]

DEFAULT_URL = "http://127.0.0.1:8000"


class Manymodal(RootCalls, SyncResource):
    """What OpenAI's client has not, over one of OpenAI's: ``client.openai``.

    Given that client, or what one is made of. The address may end in ``/v1`` or not; without one it is
    ``MANYMODAL_URL`` or ``http://127.0.0.1:8000``, and the key ``MANYMODAL_API_KEY``. ``options`` are further
    ones of ``openai.OpenAI`` (``max_retries``, ``timeout``, ...). Every call raises ``openai.APIError`` and its
    subclasses.

    Raises ``ValueError`` when the address names no http(s) server.
    """

    def __init__(
        self,
        openai_client: openai.OpenAI | None = None,
        *,
        base_url: str | None = None,
        api_key: str | None = None,
        **options: Any,
    ) -> None:
        if openai_client is None:
            url, key = _address(base_url, api_key)
            if "http_client" not in options:
                options["http_client"] = openai.DefaultHttpxClient(trust_env=not is_loopback(url))
            openai_client = openai.OpenAI(base_url=f"{url}/v1", api_key=key, **options)
        else:
            _nothing_else(base_url, api_key, options)
        super().__init__(openai_client)
        self.openai = openai_client
        self.media = Media(openai_client)
        self.collections = Collections(openai_client)
        self.documents = Documents(openai_client)
        self.ingest = Ingest(openai_client)
        self.video = Video(openai_client)
        self.audio = Audio(openai_client)
        self.tenants = Tenants(openai_client)

    def with_options(self, **options: Any) -> Self:
        """A client over the same connections with other options, such as ``max_retries=5`` or ``timeout=60``."""
        return type(self)(self.openai.with_options(**options))

    def close(self) -> None:
        """Close the connections of the openai client."""
        self.openai.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class AsyncManymodal(RootCalls, AsyncResource):
    """As ``Manymodal``, over ``openai.AsyncOpenAI``: calls are awaited, lists read with ``async for``."""

    def __init__(
        self,
        openai_client: openai.AsyncOpenAI | None = None,
        *,
        base_url: str | None = None,
        api_key: str | None = None,
        **options: Any,
    ) -> None:
        if openai_client is None:
            url, key = _address(base_url, api_key)
            if "http_client" not in options:
                options["http_client"] = openai.DefaultAsyncHttpxClient(trust_env=not is_loopback(url))
            openai_client = openai.AsyncOpenAI(base_url=f"{url}/v1", api_key=key, **options)
        else:
            _nothing_else(base_url, api_key, options)
        super().__init__(openai_client)
        self.openai = openai_client
        self.media = AsyncMedia(openai_client)
        self.collections = AsyncCollections(openai_client)
        self.documents = AsyncDocuments(openai_client)
        self.ingest = AsyncIngest(openai_client)
        self.video = AsyncVideo(openai_client)
        self.audio = AsyncAudio(openai_client)
        self.tenants = AsyncTenants(openai_client)

    def with_options(self, **options: Any) -> Self:
        """A client over the same connections with other options."""
        return type(self)(self.openai.with_options(**options))

    async def close(self) -> None:
        """Close the connections of the openai client."""
        await self.openai.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()


def base_url_of(url: str) -> str:
    """``url`` without a trailing slash or ``/v1``, with ``http://`` when no scheme is given.

    Raises ``ValueError`` when it names no http(s) host.
    """
    full = url.strip() if "://" in url else f"http://{url.strip()}"
    try:
        parts = urlsplit(full)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # a port that is no number, half an IPv6 address
        usable = False
    if not usable:
        raise ValueError(f"'{url}' is not an address of a server; give one like {DEFAULT_URL}.")
    return full.rstrip("/").removesuffix("/v1").rstrip("/")


def is_loopback(url: str) -> bool:
    """Whether it is on this machine: no proxy of the environment's must come between."""
    host = urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _address(base_url: str | None, api_key: str | None) -> tuple[str, str]:
    url = base_url if base_url is not None else os.environ.get("MANYMODAL_URL") or DEFAULT_URL
    key = api_key if api_key is not None else os.environ.get("MANYMODAL_API_KEY")
    # Some key there must be; one of OpenAI's in the environment is not for this server.
    return base_url_of(url), key or "none"


def _nothing_else(base_url: str | None, api_key: str | None, options: dict[str, Any]) -> None:
    if base_url is not None or api_key is not None or options:
        raise TypeError("Give either an openai client, or an address, a key and options; not both.")
