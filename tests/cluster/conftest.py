"""Real platforms: the `manymodal serve` command, real Ray, real models."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import openai
import psutil
import pytest
from otlp_collector import Collector, collecting

from deploy.demo.samples import Samples, make_samples
from deploy.ports import free_port

_START_SECONDS = 290  # two that start side by side on a busy machine take long
_STOP_SECONDS = 90


@dataclass(frozen=True)
class RunningPlatform:
    """A platform under test: its address and its first process."""

    base_url: str
    process: psutil.Process

    def ready(self) -> bool:
        """Whether ``/ready`` answers 200 now."""
        with contextlib.suppress(httpx.TransportError):
            return httpx.get(f"{self.base_url}/ready", timeout=10).status_code == httpx.codes.OK
        return False

    def wait_until_ready(self, seconds: float = _START_SECONDS) -> None:
        """Return once ``/ready`` answers 200; fail after ``seconds``."""
        deadline = time.monotonic() + seconds
        while not self.ready():
            # One that ended and that nobody has waited for still counts as running.
            ended = not self.process.is_running() or self.process.status() == psutil.STATUS_ZOMBIE
            assert not ended, "the platform's process ended"
            assert time.monotonic() < deadline, f"the platform was not ready after {seconds} s"
            time.sleep(0.3)

    def session(self) -> Path:
        """The folder of its Ray session."""
        (raylet,) = (one for one in self.process.children(recursive=True) if one.name() == "raylet")
        (word,) = (word for word in raylet.cmdline() if word.startswith("--session_dir="))
        return Path(word.partition("=")[2])

    def descendant(self, words: str) -> psutil.Process:
        """The one process below this platform whose command line contains ``words``."""
        found = [p for p in self.process.children(recursive=True) if words in " ".join(p.cmdline())]
        assert len(found) == 1, f"{len(found)} processes match {words!r}"
        return found[0]


@contextlib.contextmanager
def running(
    folder: Path, stop_by: signal.Signals = signal.SIGINT, **settings: str
) -> Iterator[RunningPlatform]:
    """Start the platform as a user does, stop it as a user does, and see that nothing stays behind.

    ``stop_by`` SIGTERM is how a service manager does it. ``settings`` are ``MANYMODAL_*`` variables without that
    prefix.
    """
    port = free_port()
    manymodal = Path(sys.executable).with_name("manymodal")
    command = [manymodal, "serve", "--port", str(port), "--data-dir", folder]
    environment = {**os.environ, **{f"MANYMODAL_{name}": value for name, value in settings.items()}}
    folder.mkdir(exist_ok=True)
    with (folder / "serve.log").open("wb") as log:
        process = subprocess.Popen(
            command, stdout=log, stderr=subprocess.STDOUT, start_new_session=True, env=environment
        )
    platform = RunningPlatform(f"http://127.0.0.1:{port}", psutil.Process(process.pid))
    everything: list[psutil.Process] = []
    try:
        platform.wait_until_ready()
        yield platform
        everything = platform.process.children(recursive=True)
    finally:
        process.send_signal(stop_by)
        try:
            process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            raise
        finally:
            print((folder / "serve.log").read_text("utf-8", "replace"))  # noqa: T201 -- shown when a test fails
    assert process.returncode == 0, f"{stop_by.name} must end the command with exit code 0"
    _, alive = psutil.wait_procs(everything, timeout=10)
    assert not alive, f"still running after the stop: {[p.name() for p in alive]}"


def client_of(platform: RunningPlatform) -> openai.OpenAI:
    """The official client, as a user would make it."""
    return openai.OpenAI(base_url=f"{platform.base_url}/v1", api_key="unused", max_retries=0)


def pytest_addoption(parser: pytest.Parser) -> None:
    """``--screenshots DIR`` keeps pictures of the walk through the playground."""
    parser.addoption("--screenshots", metavar="DIR", help="where pictures of the playground's walk are kept")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The tests of the shared platform last, so that it never runs beside others; the tour, which wants a platform
    that has seen nothing, first of them.
    """
    items.sort(
        key=lambda item: (
            "platform" in getattr(item, "fixturenames", ()),
            item.path.name != "test_platform.py",
        )
    )


@pytest.fixture(scope="session")
def collector() -> Iterator[Collector]:
    """Where ``platform`` sends its traces."""
    with collecting() as made:
        yield made


@pytest.fixture(scope="session")
def platform(
    models_dir: Path, tmp_path_factory: pytest.TempPathFactory, collector: Collector
) -> Iterator[RunningPlatform]:
    """One platform with a local store, started once for all tests: starting and stopping takes a minute. It tells
    everything of itself, as one in a cluster does.
    """
    folder = tmp_path_factory.mktemp("platform")
    with running(folder, TRACING__ENDPOINT=collector.endpoint, METRICS__THROUGH_RAY="true") as started:
        yield started


@pytest.fixture(scope="session")
def samples(tmp_path_factory: pytest.TempPathFactory) -> Samples:
    """The demo's media."""
    return make_samples(tmp_path_factory.mktemp("samples"))


@pytest.fixture
def client(platform: RunningPlatform) -> Iterator[openai.OpenAI]:
    """The official client of ``platform``."""
    with client_of(platform) as made:
        yield made
