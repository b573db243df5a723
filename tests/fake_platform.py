"""The whole platform without Ray: real storage and search, fake encoders and engine, and clients."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import dataclass
from pathlib import Path

import httpx2
import openai
import uvicorn
from fake_services import FakeEngine, FakePerception, FakeSearchIndex
from fastapi import FastAPI

from search.config import SearchConfig
from search.engine import SearchEngine
from serving.app import create_app
from serving.config import GatewayConfig
from serving.services import Services
from storage.artifacts import ArtifactStore
from storage.cache import MemoryCache
from storage.derived import DerivedCache
from storage.local import LocalObjectStore
from storage.media import MediaStore

__all__ = ["Platform", "build_platform", "http_client", "openai_client", "serving"]


@dataclass(slots=True)
class Platform:
    """The app and the fakes behind it."""

    app: FastAPI
    engine: FakeEngine
    perception: FakePerception
    media: MediaStore
    root: Path

    def stored_files(self) -> int:
        """How many media records lie in the store."""
        return sum(1 for _ in self.media.list("default"))


def build_platform(root: Path, config: GatewayConfig) -> Platform:
    store = LocalObjectStore(root / "objects")
    media = MediaStore(store)
    perception, engine = FakePerception(media), FakeEngine()
    index = FakeSearchIndex(SearchEngine(SearchConfig(root / "collections")))
    derived = DerivedCache(MemoryCache(1 << 20), ArtifactStore(store))
    return Platform(
        create_app(Services(perception, index, engine), media, derived, config),
        engine,
        perception,
        media,
        root,
    )


def http_client(platform: Platform) -> httpx2.AsyncClient:
    return httpx2.AsyncClient(transport=httpx2.ASGITransport(platform.app), base_url="http://localhost")


def openai_client(http: httpx2.AsyncClient, base_url: str = "http://localhost/v1") -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(api_key="none", base_url=base_url, http_client=http, max_retries=0)


class serving:  # noqa: N801 - reads as a word: ``with serving(platform) as url``
    """A context with uvicorn on a free loopback port in a thread."""

    def __init__(self, platform: Platform) -> None:
        settings = uvicorn.Config(platform.app, port=0, log_level="warning", lifespan="off", ws="none")
        self._server = uvicorn.Server(settings)
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        asyncio.run(self._server.serve())

    def __enter__(self) -> str:
        self._thread.start()
        while not self._server.started:
            assert self._thread.is_alive()
            self._thread.join(0.01)
        port = self._server.servers[0].sockets[0].getsockname()[1]
        return f"http://127.0.0.1:{port}"

    def __exit__(self, *_: object) -> None:
        self._server.should_exit = True
        self._thread.join(10)
        assert not self._thread.is_alive()
