"""Media that a command is given: files, addresses, ids, and standard input as ``-``."""

from __future__ import annotations

import base64
import contextlib
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from serving.cli.failures import UnusableInput

if TYPE_CHECKING:
    from serving.cli.client import Server

__all__ = [
    "STANDARD_INPUT",
    "as_text",
    "lent",
    "only_one_standard_input",
    "opened",
    "read_text",
    "require_readable",
    "stored",
]

STANDARD_INPUT = "-"

_REMOTE = re.compile(r"https?://.*|data:.*|file-[0-9a-f]{32}", re.DOTALL)
# As base64 this is well below what a request may hold.
_LENT_BYTES = 16 << 20


@contextlib.contextmanager
def opened(given: Path | str) -> Iterator[tuple[str, BinaryIO]]:
    """A file's name and its bytes, to be read and read again; ``-`` is standard input.

    Raises ``UnusableInput`` for what cannot be read or holds nothing.
    """
    if str(given) == STANDARD_INPUT:
        if sys.stdin.isatty():
            raise UnusableInput(
                "'-' reads standard input: pipe something in, as in `cat FILE | manymodal ...`."
            )
        with _spooled(sys.stdin.buffer) as (spool, size_bytes):
            if not size_bytes:
                raise UnusableInput("Standard input holds nothing; try `cat FILE | manymodal ... -`.")
            yield "stdin", spool
        return
    path = Path(given)
    try:
        file = path.open("rb")
    except OSError as error:
        raise UnusableInput(f"'{path}' cannot be read: {error.strerror or error}.") from None
    with file:
        if file.seekable():
            yield as_text(path.name), file
            return
        with _spooled(file) as (spool, _):  # a pipe with a name, as a shell makes of <(COMMAND)
            yield as_text(path.name), spool


def as_text(path: Path | str) -> str:
    """A path that can be sent and printed: in names of files any bytes may be, which text may not."""
    return str(path).encode("utf-8", "replace").decode()


def require_readable(*given: str | None) -> None:
    """Raises ``UnusableInput`` for a file that cannot be read: before anything is sent for the others."""
    for one in given:
        if one is None or one == STANDARD_INPUT or _is_remote(one):
            continue
        path = Path(one)
        if path.exists() and not path.is_file() and not path.is_dir():
            continue  # opening a pipe takes a part in it
        with opened(one):
            pass


@contextlib.contextmanager
def _spooled(stream: BinaryIO) -> Iterator[tuple[BinaryIO, int]]:
    """A file with what a stream holds, and its size."""
    with tempfile.TemporaryFile() as spool:
        shutil.copyfileobj(stream, spool)
        size_bytes = spool.tell()
        spool.seek(0)
        yield spool, size_bytes


def stored(server: Server, given: str) -> str:
    """A reference to a medium that stays: an address or an id as it is; a file, of any size, is uploaded."""
    return given if _is_remote(given) else str(server.upload(given)["id"])


def lent(server: Server, given: str) -> str:
    """A reference to a medium that is only looked at: a file of usual size travels inside the request, so that it
    does not stay among the user's files.
    """
    if _is_remote(given):
        return given
    with opened(given) as (name, file):
        content = file.read(_LENT_BYTES + 1)
        if len(content) <= _LENT_BYTES:
            return f"data:application/octet-stream;base64,{base64.b64encode(content).decode()}"
        file.seek(0)
        with server.translating():
            return server.api.media.put((name, file)).id


def read_text(given: str | None, missing: str) -> str:
    """A text that was given, or standard input for ``-`` and, when something is piped in, for none.

    Raises ``UnusableInput``: ``missing`` when there is none and nothing is piped in.
    """
    if given not in (None, STANDARD_INPUT):
        return str(given)
    if given is None and sys.stdin.isatty():
        raise UnusableInput(missing)
    try:
        return sys.stdin.read()
    except UnicodeDecodeError:
        raise UnusableInput(
            "Standard input is no UTF-8 text. A medium is given by its option, as in `--image -` or `--audio -`."
        ) from None


def only_one_standard_input(*given: str | None) -> None:
    """Raises ``UnusableInput`` when more than one thing is to be read from standard input."""
    if sum(one == STANDARD_INPUT for one in given) > 1:
        raise UnusableInput("Standard input can be read once: give '-' in one place only.")


def _is_remote(given: str) -> bool:
    return bool(_REMOTE.fullmatch(given)) and not Path(given).exists()
