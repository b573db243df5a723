"""The client's commands, and a fake platform over real HTTP for them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import typer
from fake_http_platform import FakeHttpPlatform, running
from typer.testing import CliRunner, Result

from serving.cli import register
from serving.cli.command_group import CommandGroup

Cli = Callable[..., Result]
"""Runs a command against the fake platform: ``cli("chat", "Hi", input="...")``."""


@pytest.fixture(scope="session")
def app() -> typer.Typer:
    app, models = typer.Typer(cls=CommandGroup), typer.Typer()
    register(app, models)
    app.add_typer(models, name="models")
    return app


@pytest.fixture(scope="session")
def served() -> Iterator[tuple[FakeHttpPlatform, str]]:
    """One server for all tests: stopping one takes longer than a test."""
    platform = FakeHttpPlatform()
    with running(platform) as url:
        yield platform, url


@pytest.fixture
def platform(served: tuple[FakeHttpPlatform, str]) -> FakeHttpPlatform:
    served[0].reset()
    return served[0]


@pytest.fixture
def url(platform: FakeHttpPlatform, served: tuple[FakeHttpPlatform, str]) -> str:
    return served[1]


@pytest.fixture
def cli(
    app: typer.Typer, url: str, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> Cli:
    monkeypatch.chdir(tmp_path_factory.mktemp("here"))  # not the checkout, whose benchmarks `bench` would run

    def run(*arguments: str, at: str = url, input: str | bytes | None = None) -> Result:  # noqa: A002 - click's name
        return CliRunner().invoke(app, list(arguments), input=input, env={"MANYMODAL_URL": at})

    return run


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two pictures, a text, and things that are not to be indexed."""
    (tmp_path / "below").mkdir()
    (tmp_path / ".hidden").mkdir()
    for name in ("a.png", "below/b.jpg", ".hidden/c.png", "program.py", "drawing.svg"):
        (tmp_path / name).write_bytes(b"content of " + name.encode())
    (tmp_path / "notes.txt").write_text("Tea is hot.", "utf-8")
    return tmp_path
