"""Lance's errors in our words: theirs carry paths and stay in the log."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pyarrow as pa
from lance.commit import CommitConflictError

from search.errors import SearchError, SearchUnavailable

__all__ = ["FAILURES", "CommitConflictError", "held", "is_conflict", "translated"]

_LOG = logging.getLogger(__name__)
_LOCK_WAIT_SECONDS = 60.0
FAILURES = (OSError, RuntimeError, ValueError, pa.ArrowException, CommitConflictError)


def is_conflict(error: BaseException) -> bool:
    """Whether a commit failed because another writer was quicker. Compaction says so as an ``OSError``."""
    return isinstance(error, CommitConflictError) or (
        isinstance(error, OSError) and "commit conflict" in str(error).lower()
    )


@contextmanager
def translated(what: str) -> Iterator[None]:
    """Turn Lance's and the file system's errors into ``SearchUnavailable``."""
    try:
        yield
    except SearchError:
        raise
    except FAILURES as error:
        _LOG.error("A collection could not be %s: %s", what, error)
        raise SearchUnavailable(f"The collection could not be {what} right now. Try again later.") from error


@contextmanager
def held(lock: threading.Lock) -> Iterator[None]:
    """Hold a lock that is normally free within milliseconds; a disk that hangs must not hang every caller."""
    if not lock.acquire(timeout=_LOCK_WAIT_SECONDS):
        raise SearchUnavailable("The collection is busy. Try again shortly.")
    try:
        yield
    finally:
        lock.release()
