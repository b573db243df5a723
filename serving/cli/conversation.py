"""``manymodal chat`` without a question: a conversation at a terminal."""

from __future__ import annotations

import contextlib
import shlex
from typing import TYPE_CHECKING, Any

import typer

from serving.cli.chat import part, stream_answer
from serving.cli.failures import ClientFailure, NoServer
from serving.cli.messages import note, say_error

if TYPE_CHECKING:
    from serving.cli.client import Server

__all__ = ["Conversation"]

_BRINGS = {"/image": "image_url", "/audio": "audio_url", "/video": "video_url"}
_HELP = (
    "/image FILE, /audio FILE, /video FILE  bring a medium (a file, an address or an id) to the next question\n"
    "/new   forget what was said\n"
    "/quit  leave, as Ctrl-D does; Ctrl-C stops an answer"
)


class Conversation:
    """Questions and answers that the model remembers. ``request`` holds the fields that stay the same."""

    def __init__(self, server: Server, request: dict[str, Any], system: str | None) -> None:
        self._server = server
        self._request = request
        self._system: list[dict[str, Any]] = [{"role": "system", "content": system}] if system else []
        self._said: list[dict[str, Any]] = []
        self._brought: list[dict[str, Any]] = []

    def bring(self, kind: str, reference: str) -> None:
        """A medium for the next question. Raises ``ClientFailure``."""
        self._brought.append(part(self._server, kind, reference))

    def run(self) -> None:
        """Ask for questions until the end. Raises ``NoServer`` when the platform is gone."""
        with contextlib.suppress(ImportError):
            import readline  # noqa: F401 -- its import gives `input` a history and the arrow keys

        note("A conversation: /help says what can be done, Ctrl-D ends it.", "dim")
        while True:
            try:
                line = input("> ").strip()
            except EOFError:
                typer.echo()
                return
            except KeyboardInterrupt:
                typer.echo()
                continue
            if line in ("/quit", "/exit"):
                return
            if not line:
                continue
            try:
                self.take(line)
            except NoServer:
                raise
            except ClientFailure as failure:
                say_error(failure.message)

    def take(self, line: str) -> None:
        """One line: a question, or a command. Raises ``ClientFailure``."""
        word, _, rest = line.partition(" ")
        if word in _BRINGS:
            for reference in _references(rest):
                self.bring(_BRINGS[word], reference)
                note(f"{reference} goes with the next question.", "dim")
        elif word == "/new":
            self._said.clear()
            self._brought.clear()
        elif word.startswith("/") and "/" not in word[1:] and word[1:].isalpha():
            note(_HELP, "dim")
        else:
            self._ask(line)

    def _ask(self, question: str) -> None:
        content: Any = [*self._brought, {"type": "text", "text": question}] if self._brought else question
        asked = {"role": "user", "content": content}
        try:
            with self._server.translating():
                answer = stream_answer(
                    self._server, {**self._request, "messages": [*self._system, *self._said, asked]}
                )
        except KeyboardInterrupt:
            typer.echo()
            note("Stopped. The question can be asked again; it is not remembered.", "dim")
            return
        self._said += [asked, {"role": "assistant", "content": answer}]
        self._brought.clear()


def _references(words: str) -> list[str]:
    """As a shell would split them, so that names with spaces can be quoted."""
    try:
        return shlex.split(words)
    except ValueError:
        return [words]
