"""Maintenance of tables in the background, after so many writes of this process."""

from __future__ import annotations

import logging
import threading
from concurrent.futures import ThreadPoolExecutor

from search.errors import CollectionNotFound, SearchUnavailable
from search.table import RowTable

__all__ = ["Upkeep"]

_LOG = logging.getLogger(__name__)
_WRITES = 64
_ROWS = 4096
_MAX_COUNTED = 1024


class Upkeep:
    """Thread-safe. One table at a time is maintained, beside the writers and not in their way."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._done: dict[str, tuple[int, int]] = {}  # by table, writes and rows since it was last maintained
        self._waiting: set[str] = set()
        self._thread: ThreadPoolExecutor | None = None

    def after_write(self, table: RowTable, rows: int) -> None:
        """Count a write, and maintain the table soon when there were enough."""
        with self._lock:
            writes, before = self._done.get(table.uid, (0, 0))
            self._done[table.uid] = (writes + 1, before + rows)
            if table.uid in self._waiting or (writes + 1 < _WRITES and before + rows < _ROWS):
                return
            if len(self._done) > _MAX_COUNTED:
                self._done.clear()
            self._done.pop(table.uid, None)
            self._waiting.add(table.uid)
            if self._thread is None:
                self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="search-upkeep")
            self._thread.submit(self._maintain, table)

    def close(self) -> None:
        """Wait for the table that is being maintained; leave out those that wait."""
        with self._lock:
            thread, self._thread = self._thread, None
        if thread is not None:
            thread.shutdown(wait=True, cancel_futures=True)
        with self._lock:
            self._waiting.clear()

    def _maintain(self, table: RowTable) -> None:
        with self._lock:
            self._waiting.discard(table.uid)
        try:
            table.maintain()
        except (SearchUnavailable, CollectionNotFound) as error:
            _LOG.info("A collection was not maintained now: %s", error)
        except Exception:
            _LOG.exception("A collection could not be maintained.")
