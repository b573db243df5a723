"""Starting the platform: what is refused before Ray is started."""

from __future__ import annotations

import pickle
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from deploy.errors import DeployError, PlatformStartFailed, PortTaken, TourFailed
from deploy.platform import running_platform
from deploy.ports import free_port
from deploy.settings import load_settings


def test_a_taken_port_is_refused_before_anything_starts(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        settings = load_settings({"port": taken.getsockname()[1], "data_dir": tmp_path})
        with pytest.raises(PortTaken, match="already in use"), running_platform(settings):
            pytest.fail("must not start")


class Stopped(Exception):
    """What a test stops the start with."""


@pytest.fixture
def terminating(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """Starts a platform until Ray has begun, which does what it is given; SIGTERM means Ctrl-C."""

    def start(ray_init: Callable[..., None]) -> None:
        monkeypatch.setattr("ray.init", ray_init)
        settings = load_settings({"port": free_port(), "data_dir": tmp_path})
        with running_platform(settings):
            pytest.fail("must not start")

    def stop(**_: object) -> None:
        raise Stopped

    monkeypatch.setattr("deploy.platform.ray_environment", lambda _: {})
    monkeypatch.setattr("ray.is_initialized", lambda: False)
    monkeypatch.setattr("ray.serve.start", stop)
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    yield start
    signal.signal(signal.SIGTERM, before)


def test_ray_takes_no_signal_from_whoever_starts_it(terminating: Callable[..., None]) -> None:
    def init(*_: object, **__: object) -> None:
        signal.signal(signal.SIGTERM, lambda number, _: sys.exit(number))  # as Ray does it

    with pytest.raises(Stopped):
        terminating(init)
    assert signal.getsignal(signal.SIGTERM) is signal.default_int_handler


def test_a_ray_that_does_not_start_is_said_in_a_sentence(terminating: Callable[..., None]) -> None:
    def init(*_: object, **__: object) -> None:
        raise Exception("The current node timed out during startup.\nMore.")  # as Ray raises it

    with pytest.raises(PlatformStartFailed, match=r"Ray did not start .* timed out during startup\. Is it"):
        terminating(init)


def test_a_signal_while_ray_begins_means_what_it_always_means(terminating: Callable[..., None]) -> None:
    def init(*_: object, **__: object) -> None:
        signal.signal(signal.SIGTERM, lambda number, _: sys.exit(number))
        signal.raise_signal(signal.SIGTERM)

    with pytest.raises(KeyboardInterrupt):
        terminating(init)
    assert signal.getsignal(signal.SIGTERM) is signal.default_int_handler


@pytest.mark.parametrize("cls", [DeployError, PlatformStartFailed, PortTaken, TourFailed])
def test_errors_travel_between_processes(cls: type[DeployError]) -> None:
    copy = pickle.loads(pickle.dumps(cls("It failed.")))  # noqa: S301 -- our own bytes
    assert type(copy) is cls
    assert copy.message == "It failed."


def test_the_command_starts_light() -> None:
    """`manymodal --help` must not wait for Ray, torch or a model."""
    code = "import sys, deploy.cli; print(*{m.split('.')[0] for m in sys.modules})"
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.split()
    assert not {"ray", "torch", "vllm", "transformers", "faiss", "lance", "av", "cv2"} & set(loaded)
