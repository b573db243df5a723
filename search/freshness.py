"""Whether a table on this machine is the same as a moment ago, for a microsecond.

Lance finds the newest version by listing a folder, which takes a quarter of a microsecond for each version in it:
a millisecond on a collection that is written all the time. Each commit puts a file there, which changes the
folder's time of change. That time is coarse: it may stay the same for two commits within some milliseconds. So it
is trusted only once it lay some time back when it was read.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

__all__ = ["Freshness"]

_SETTLED_NANOSECONDS = 2_000_000_000


class Freshness:
    """Of the table in ``folder``; of one not on this machine (``None``) nothing is ever known. Thread-safe.

    Call ``look`` before reading the newest version and ``seen`` with its answer afterwards; ``unchanged`` says then
    whether that version is still the newest.
    """

    def __init__(self, folder: Path | None) -> None:
        self._versions = None if folder is None else str(folder / "_versions")
        self._seen: int | None = None

    def unchanged(self) -> bool:
        """``False`` means: unknown."""
        seen = self._seen
        return seen is not None and seen == self._changed_at()

    def look(self) -> int | None:
        """When the folder changed last, if that was long enough ago to be told from the next change."""
        changed_at = self._changed_at()
        if changed_at is None or not time.time_ns() - _SETTLED_NANOSECONDS - changed_at >= 0:
            return None
        return changed_at

    def seen(self, looked: int | None) -> None:
        """The version that was the newest after ``look`` is known now."""
        self._seen = looked

    def _changed_at(self) -> int | None:
        if self._versions is None:
            return None
        try:
            return os.stat(self._versions).st_mtime_ns
        except OSError:
            return None
