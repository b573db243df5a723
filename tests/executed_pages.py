"""Runs a page of the documents as a reader would, block after block, and holds what comes out against the page.

Blocks in ``sh`` or ``bash`` share one shell, blocks in ``python`` one interpreter: variables live on. A block in
``text`` or ``json`` right behind one of them is what that prints; ``...`` in it stands for anything. What lies
under ``<!-- not run: REASON -->`` is left out, with what it prints.
"""

from __future__ import annotations

import contextlib
import difflib
import io
import os
import re
import select
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sybil import Document, Example
from sybil.evaluators.python import PythonEvaluator
from sybil.parsers.markdown import CodeBlockParser
from sybil.parsers.markdown.lexers import DirectiveInHTMLCommentLexer
from sybil.region import Region

__all__ = ["ADDRESS", "Reader", "parsed_page", "run_page"]

ADDRESS = "http://127.0.0.1:8000"
"""Where pages say that the platform answers; a test's platform answers elsewhere."""

_BLOCK_SECONDS = 120  # only ends what hangs
_LONGEST_GAP = 200  # characters between a block and what it prints: a sentence at most


@dataclass(slots=True)
class Reader:
    """Who follows pages: a folder, a shell in it, and where the platform is. Close it."""

    folder: Path
    base_url: str
    environment: Mapping[str, str] = field(default_factory=dict)
    _shell: subprocess.Popen[str] | None = None

    def run_shell(self, source: str) -> str:
        """What ``source`` prints, errors included. Raises ``AssertionError`` when a command of it fails."""
        if self._shell is None:
            self._shell = self._started()
        script, printed = self.folder / ".block.sh", self.folder / ".block.out"
        script.write_text(source.replace(ADDRESS, self.base_url), "utf-8")
        stdin, stdout = self._shell.stdin, self._shell.stdout
        assert stdin is not None
        assert stdout is not None
        stdin.write(f". '{script}' > '{printed}' 2>&1 < /dev/null; echo done\n")
        stdin.flush()
        answered, _, _ = select.select([stdout], [], [], _BLOCK_SECONDS)
        done = stdout.readline() if answered else "slow"
        output = self._as_shown(printed.read_text("utf-8", "replace"))
        for file in (script, printed):
            file.unlink()
        if done == "slow":
            raise AssertionError(f"It did not end within {_BLOCK_SECONDS} s; so far it printed:\n{output}")
        if not done:
            raise AssertionError(f"A command failed with exit code {self._shell.wait(10)}:\n{output}")
        return output

    def run_python(self, example: Example) -> str:
        """What a block of Python prints."""
        printed = io.StringIO()
        example.parsed = type(example.parsed)(
            example.parsed.replace(ADDRESS, self.base_url), example.parsed.offset, example.parsed.line_offset
        )
        with contextlib.redirect_stdout(printed), contextlib.chdir(self.folder), self._variables():
            PythonEvaluator()(example)
        return self._as_shown(printed.getvalue())

    def close(self) -> None:
        """End the shell and what it has started."""
        if self._shell is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._shell.pid, signal.SIGKILL)
            self._shell.communicate()
            self._shell = None

    def _started(self) -> subprocess.Popen[str]:
        path = os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))
        # No colours, and room for any path: what is printed does not depend on who runs the test where.
        environment = {**os.environ, "PATH": path, "COLUMNS": "240", "NO_COLOR": "1", **self.environment}
        return subprocess.Popen(
            ["bash", "--noprofile", "--norc", "-euo", "pipefail"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=self.folder,
            env=environment,
            start_new_session=True,
        )

    @contextlib.contextmanager
    def _variables(self) -> Iterator[None]:
        before = {name: os.environ.get(name) for name in self.environment}
        os.environ.update(self.environment)
        try:
            yield
        finally:
            for name, value in before.items():
                if value is None:
                    del os.environ[name]
                else:
                    os.environ[name] = value

    def _as_shown(self, output: str) -> str:
        return output.replace(self.base_url, ADDRESS)


def run_page(page: Path, reader: Reader, wanted: Callable[[str], bool] = lambda source: True) -> int:
    """Run the blocks of ``page`` for which ``wanted`` holds; how many.

    Raises ``SybilFailure`` with the line of the block that fails or prints something else.
    """
    follower = _Follower(reader, wanted)
    document = parsed_page(page, follower)
    with contextlib.ExitStack() as left:
        try:
            for example in document:
                example.evaluate()
        finally:  # what readers leave open, clients above all, would else end whenever garbage is collected
            for value in document.namespace.values():
                if isinstance(value, contextlib.AbstractContextManager) and hasattr(value, "close"):
                    left.callback(value.close)
    return follower.ran


def parsed_page(page: Path, follower: _Follower | None = None) -> Document:
    """The blocks of a page in order."""
    evaluators: dict[str, Callable[[Example], str | None] | None] = dict.fromkeys(
        ("sh", "bash", "python", "text", "json")
    )
    if follower:
        evaluators = {
            "sh": follower.shell,
            "bash": follower.shell,
            "python": follower.python,
            "text": follower.output,
            "json": follower.output,
        }
    return Document.parse(
        str(page),
        *(CodeBlockParser(name, evaluator or _nothing) for name, evaluator in evaluators.items()),
        _not_run(follower.leave_out if follower else _nothing),
    )


def _nothing(example: Example) -> None:
    """Only looked at."""


def _not_run(evaluator: Callable[[Example], str | None]) -> Callable[[Document], Iterator[Region]]:
    lexer = DirectiveInHTMLCommentLexer("not run", r"[^\n]*?")

    def parse(document: Document) -> Iterator[Region]:
        for region in lexer(document):
            yield Region(region.start, region.end, region.lexemes["arguments"], evaluator)

    return parse


class _Follower:
    """What a page has come to: what the block before printed, if it ran."""

    def __init__(self, reader: Reader, wanted: Callable[[str], bool]) -> None:
        self.ran = 0
        self._reader = reader
        self._wanted = wanted
        self._leave_out = False
        self._left_out = False
        self._printed: str | None = None
        self._end = 0

    def shell(self, example: Example) -> str | None:
        return self._run(example, lambda: self._reader.run_shell(example.parsed))

    def python(self, example: Example) -> str | None:
        return self._run(example, lambda: self._reader.run_python(example))

    def leave_out(self, example: Example) -> str | None:
        if not example.parsed.strip():
            return "It must say why: <!-- not run: REASON -->."
        self._leave_out = True
        return None

    def output(self, example: Example) -> str | None:
        shown, printed, left_out = example.parsed, self._printed, self._left_out or self._leave_out
        self._printed, self._left_out, self._leave_out = None, False, False
        if left_out:
            return None
        if printed is None or example.region.start - self._end > _LONGEST_GAP:
            return "Nothing ran right before that could have printed this."
        return _difference(shown, printed)

    def _run(self, example: Example, action: Callable[[], Any]) -> str | None:
        self._end = example.region.end
        self._left_out = self._leave_out or not self._wanted(example.parsed)
        self._leave_out = False
        if self._left_out:
            return None
        self.ran += 1
        try:
            self._printed = action()
        except AssertionError as failed:
            return f"{example.parsed}\n{failed}"
        return None


def _difference(shown: str, printed: str) -> str | None:
    """Nothing, or how what was printed differs. ``...`` stands for anything, ends of lines do not count."""
    want, got = (
        re.sub(r"[ \t]+$", "", text, flags=re.MULTILINE).strip("\n") + "\n" for text in (shown, printed)
    )
    pieces = re.split(r"\.\.\.(?!\.)", want)  # of "0...." the first is a full stop
    if re.fullmatch(".*?".join(map(re.escape, pieces)), got, re.DOTALL):
        return None
    lines = difflib.unified_diff(
        want.splitlines(), got.splitlines(), "the page shows", "printed was", lineterm="", n=9
    )
    return "\n".join(lines)
