"""The command as a shell runs it: a process of its own, pipes that close, terminals, completion."""

from __future__ import annotations

import contextlib
import os
import re
import select
import subprocess
import sys
import time
from pathlib import Path

import pytest
from fake_media import fake_png
from fake_platform import Platform
from typer.testing import CliRunner

from deploy.cli import app
from serving.cli.exit_codes import ExitCode
from serving.config import RequestLimits

MANYMODAL = [sys.executable, "-m", "deploy"]
ROOT = Path(__file__).parents[2]
LIMIT_SECONDS = 120  # of waiting for a process on a busy machine


@pytest.fixture
def limits() -> RequestLimits:
    """Not the small ones of other tests: many lines are piped through."""
    return RequestLimits()


def environment(url: str, **more: str) -> dict[str, str]:
    return {**os.environ, "MANYMODAL_URL": url, "PYTHONPATH": str(ROOT), "TERM": "xterm", **more}


class Terminal:
    """A command on a terminal of its own, as somebody sits at it."""

    def __init__(self, arguments: list[str], env: dict[str, str]) -> None:
        self._terminal, side = os.openpty()
        self.process = subprocess.Popen(
            [*MANYMODAL, *arguments], stdin=side, stdout=side, stderr=side, env=env, start_new_session=True
        )
        os.close(side)
        self.shown = ""

    def until(self, pattern: str) -> None:
        """Read on until what is new matches."""
        start, deadline = len(self.shown), time.monotonic() + LIMIT_SECONDS
        while not re.search(pattern, self.shown[start:]):
            assert time.monotonic() < deadline, f"{pattern!r} did not come; there was: {self.shown!r}"
            if select.select([self._terminal], [], [], 1.0)[0]:
                self._read()

    def type(self, line: str) -> None:
        os.write(self._terminal, line.encode())

    def ended(self) -> int:
        """The exit code, having read the rest."""
        deadline = time.monotonic() + LIMIT_SECONDS
        while self.process.poll() is None:
            assert time.monotonic() < deadline, f"it goes on; there was: {self.shown!r}"
            if select.select([self._terminal], [], [], 0.2)[0]:
                self._read()
        while select.select([self._terminal], [], [], 0)[0] and self._read():
            continue
        return int(self.process.returncode)

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(10)
        os.close(self._terminal)

    def _read(self) -> bool:
        with contextlib.suppress(OSError):  # Linux says so when the other side is closed
            piece = os.read(self._terminal, 65536)
            self.shown += piece.decode("utf-8", "replace")
            return bool(piece)
        return False


def test_a_pipe_that_nobody_reads_any_more_ends_quietly(live: str) -> None:
    with subprocess.Popen(
        [*MANYMODAL, "embed"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(live),
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        # Far more than a pipe holds.
        process.stdin.write(b"".join(b"line %d\n" % number for number in range(64)))
        process.stdin.close()
        assert process.stdout.readline().startswith(b"[")
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(LIMIT_SECONDS) == ExitCode.CLOSED_PIPE


def test_a_conversation_at_a_terminal_is_remembered(live: str, platform: Platform, tmp_path: Path) -> None:
    picture = tmp_path / "a cat.png"
    picture.write_bytes(fake_png())
    terminal = Terminal(["chat", "--system", "Be brief."], environment(live, NO_COLOR="1"))
    try:
        terminal.until("> ")
        terminal.type("/image nowhere.png\n")
        terminal.until(r"Error: 'nowhere\.png' cannot be read[\s\S]*> ")
        terminal.type(f"/image '{picture}'\n")
        terminal.until(r"goes with the next question[\s\S]*> ")
        terminal.type("What is this?\n")
        terminal.until(r"A cat sits\.[\s\S]*> ")
        terminal.type("And why?\n")
        terminal.until(r"A cat sits\.[\s\S]*> ")
        terminal.type("/new\n")
        terminal.until("> ")
        terminal.type("Hi.\n")
        terminal.until(r"A cat sits\.[\s\S]*> ")
        terminal.type("\x04")
        assert terminal.ended() == 0
    finally:
        terminal.close()
    first, second, third = ([one["role"] for one in sent["messages"]] for sent in platform.engine.requests)
    assert first == ["system", "user"]
    assert second == ["system", "user", "assistant", "user"]
    assert third == ["system", "user"]
    assert "image: saw cat" in terminal.shown


@pytest.mark.parametrize(("more", "coloured"), [({}, True), ({"NO_COLOR": "1"}, False)])
def test_colours_are_for_terminals_that_want_them(more: dict[str, str], coloured: bool) -> None:
    terminal = Terminal(["models"], environment("http://127.0.0.1:1", **more))
    try:
        assert terminal.ended() == ExitCode.NO_SERVER
    finally:
        terminal.close()
    assert "No server answers" in terminal.shown
    assert ("\x1b[" in terminal.shown) is coloured


def completed(words: str, url: str, shell: str = "bash") -> list[str]:
    variables = {
        "bash": {"COMP_WORDS": words, "COMP_CWORD": str(words.count(" "))},
        "zsh": {"_TYPER_COMPLETE_ARGS": words},
        "fish": {"_TYPER_COMPLETE_ARGS": words, "_TYPER_COMPLETE_FISH_ACTION": "get-args"},
    }[shell]
    env = {"_MANYMODAL_COMPLETE": f"complete_{shell}", "MANYMODAL_URL": url, **variables}
    result = CliRunner().invoke(app, [], prog_name="manymodal", env=env)
    assert result.exit_code == 0, result.output
    assert result.stderr == ""
    return result.stdout.split()


def test_a_shell_is_offered_what_there_is(live: str) -> None:
    assert {"up", "down", "chat", "media"} <= set(completed("manymodal ", live))
    assert completed("manymodal collections s", live) == ["show"]
    assert "--image" in completed("manymodal chat --i", live)
    assert completed("manymodal chat --model smol", live) == ["smollm2-135m-instruct"]
    assert completed("manymodal serve --profile lap", live) == ["laptop", "laptop-hub"]
    made = CliRunner().invoke(app, ["collections", "create", "holiday"], env={"MANYMODAL_URL": live})
    assert made.exit_code == 0
    assert completed("manymodal search --collection hol", live) == ["holiday"]
    assert completed("manymodal collections show hol", live) == ["holiday"]
    for shell in ("zsh", "fish"):
        assert "smollm2-135m-instruct" in " ".join(completed("manymodal chat --model smol", live, shell))


def test_where_nobody_answers_nothing_is_offered_and_nothing_is_said() -> None:
    assert completed("manymodal chat --model smol", "http://127.0.0.1:1") == []
    assert completed("manymodal search --collection ", "not an address") == []


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_each_shell_has_its_script(shell: str) -> None:
    env = {"_MANYMODAL_COMPLETE": f"source_{shell}"}
    script = CliRunner().invoke(app, [], prog_name="manymodal", env=env).stdout
    assert f"_MANYMODAL_COMPLETE=complete_{shell}" in script
    assert "manymodal" in script
    if shell == "bash":
        checked = subprocess.run(["bash", "-n"], input=script, text=True, capture_output=True, check=False)
        assert (checked.returncode, checked.stderr) == (0, "")
