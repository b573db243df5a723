"""The whole platform without Ray: real storage and search, fake encoders and engine, and clients."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import openai
import uvicorn
from fake_services import FakeBridge, FakeEngine, FakePerception, FakeSearchIndex
from fastapi import FastAPI

from search.config import SearchConfig
from search.engine import SearchEngine
from serving.app import create_app
from serving.config import GatewayConfig
from serving.gateway import Gateway
from serving.services import Services
from storage.assembly import Storage, assemble
from storage.config import StorageConfig
from storage.local import LocalObjectStore
from storage.media import MediaStore
from storage.objects import ObjectStore
from storage.types import INLINE

__all__ = ["Platform", "build_platform", "http_client", "openai_client", "serving"]


@dataclass(slots=True)
class Platform:
    """The app and the fakes behind it."""

    app: FastAPI
    engine: FakeEngine
    perception: FakePerception
    bridge: FakeBridge
    search: SearchEngine
    storage: Storage
    root: Path

    @property
    def media(self) -> MediaStore:
        return self.storage.media

    @property
    def gateway(self) -> Gateway:
        gateway: Gateway = self.app.state.gateway
        return gateway

    def stored_files(self) -> int:
        """How many media records of the default tenant lie in the store."""
        return len(self.media.list("default")) + len(self.media.list("default", purpose=INLINE))

    def stored_keys(self, prefix: str = "") -> list[str]:
        """Keys of the objects in the store."""
        return [info.key for info in self.storage.objects.list(prefix)]


def build_platform(
    root: Path,
    config: GatewayConfig,
    objects: ObjectStore | None = None,
    clock: Callable[[], float] = time.time,
    perception: type[FakePerception] = FakePerception,
    **settings: Any,
) -> Platform:
    """A platform whose data lie in ``root``; a second one on the same folder is the first, started again.

    ``objects`` is another store than a folder, ``perception`` are other encoders, ``settings`` are fields of
    ``StorageConfig``.
    """
    wanted = StorageConfig(root / "objects", root / "spool", **{"memory_cache_bytes": 1 << 20, **settings})
    wanted.spool_folder.mkdir(exist_ok=True)
    store = objects if objects is not None else LocalObjectStore(wanted.root)
    storage = assemble(wanted, store, config.cache_secret, clock)
    encoders, engine = perception(storage.media), FakeEngine()
    search = SearchEngine(SearchConfig(root / "collections"))
    bridge = FakeBridge(encoders, config.chat_model.name)
    served = None if config.bridge is None else bridge
    services = Services(encoders, FakeSearchIndex(search), engine, served)
    return Platform(create_app(services, storage, config), engine, encoders, bridge, search, storage, root)


def http_client(platform: Platform) -> httpx2.AsyncClient:
    return httpx2.AsyncClient(transport=httpx2.ASGITransport(platform.app), base_url="http://localhost")


def openai_client(http: httpx2.AsyncClient, base_url: str = "http://localhost/v1") -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(api_key="none", base_url=base_url, http_client=http, max_retries=0)


class serving:  # noqa: N801 - reads as a word: ``with serving(platform) as url``
    """A context with uvicorn on a free loopback port in a thread."""

    def __init__(self, platform: Platform, **more: Any) -> None:
        settings = uvicorn.Config(
            platform.app, port=0, log_level="warning", lifespan="off", ws="none", **more
        )
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
