"""`manymodal serve`: what it says, and that others find it while it runs. Real ones are in tests/cluster."""

from __future__ import annotations

import contextlib
import json
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from deploy import serve_command
from deploy.cli import app
from deploy.errors import PlatformStartFailed
from deploy.platform import Platform
from deploy.running_record import read_running


@pytest.fixture(autouse=True)
def stand_in(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[list[Any]]:
    """A platform that is ready at once and is told to stop at once; gives the records that were noted meanwhile."""
    noted: list[Any] = []

    @contextlib.contextmanager
    def running(settings: Any, on_progress: Any) -> Iterator[Platform]:
        on_progress("engine", "updating", 0.5)
        if settings.port == 8999:
            raise PlatformStartFailed("The engine did not start.")
        yield Platform(f"http://127.0.0.1:{settings.port}", 1.5)

    class Event:
        def wait(self) -> None:
            noted.append(read_running(tmp_path))
            raise KeyboardInterrupt

    monkeypatch.setattr("deploy.platform.running_platform", running)
    monkeypatch.setattr(serve_command, "prepare_with_progress", lambda *_: None)
    monkeypatch.setattr(serve_command.threading, "Event", Event)
    before = signal.getsignal(signal.SIGTERM)
    yield noted
    signal.signal(signal.SIGTERM, before)


def test_events_as_json(stand_in: list[Any], tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["serve", "--json", "--port", "8123", "--data-dir", str(tmp_path)])
    assert result.exit_code == 0, result.output
    events = [json.loads(line) for line in result.stdout.splitlines()]
    assert events == [
        {"event": "state", "deployment": "engine", "state": "updating", "seconds": 0.5},
        {"event": "ready", "url": "http://127.0.0.1:8123", "seconds": 1.5},
        {"event": "draining", "at_most_seconds": 60},
        {"event": "stopped"},
    ]
    (record,) = stand_in
    assert (record.url, record.log) == ("http://127.0.0.1:8123", None)
    assert read_running(tmp_path) is None


def test_words_for_people(tmp_path: Path) -> None:
    said = CliRunner().invoke(app, ["serve", "--port", "8123", "--data-dir", str(tmp_path)]).stdout
    assert "Ready in 2 s: http://127.0.0.1:8123" in said
    assert "curl http://127.0.0.1:8123/v1/chat/completions" in said
    assert said.endswith("Stopped.\n")


def test_one_that_does_not_start_is_not_noted(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["serve", "--port", "8999", "--data-dir", str(tmp_path)])
    assert isinstance(result.exception, PlatformStartFailed)
    assert read_running(tmp_path) is None
