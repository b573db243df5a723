"""What ``manymodal index`` has done before, so that a run that was killed goes on where it was."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Self

from serving.cli.failures import UnusableInput
from serving.cli.index_sources import Source

__all__ = ["Journal", "default_journal"]


class Journal:
    """A file with a line for each thing that need not be sent again: its document's id and what it was like.

    Lines are synced before a batch counts as done. A last line that a crash cut off is ignored. Without ``path``
    nothing is remembered.
    """

    def __init__(self, path: Path | None) -> None:
        self._done: dict[str, str] = {}
        self._file = None
        if path is None:
            return
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            if path.exists():
                for line in path.read_text("utf-8", "replace").splitlines():
                    self._read(line)
            self._file = path.open("a", encoding="utf-8")
            self._file.write("\n")  # ends a line that was cut off
        except OSError as error:
            raise UnusableInput(f"The journal '{path}' cannot be used: {error.strerror or error}.") from None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is not None:
            self._file.close()

    def has(self, source: Source) -> bool:
        """Whether this was done, and has not changed since."""
        return bool(self._done) and self._done.get(source.id) == source.stamp()

    def note(self, done: Iterable[tuple[Source, str]]) -> None:
        """These are done, each as it was when it was sent (``Source.stamp``)."""
        if self._file is None:
            return
        for source, stamp in done:
            self._done[source.id] = stamp
            self._file.write(json.dumps([source.id, stamp]) + "\n")
        self._file.flush()
        os.fsync(self._file.fileno())

    def _read(self, line: str) -> None:
        try:
            document, stamp = json.loads(line)
        except ValueError:
            return
        self._done[str(document)] = str(stamp)


def default_journal(url: str, collection: str) -> Path:
    """Where the journal of a server's collection lies unless told otherwise."""
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    digest = hashlib.sha256(f"{url}\n{collection}".encode()).hexdigest()[:16]
    return folder / "manymodal" / "index" / f"{digest}.jsonl"
