"""Building large segments in the background, one at a time in a process."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

__all__ = ["BuildStopped", "Builder"]

_LOG = logging.getLogger(__name__)
_ONE_AT_A_TIME = threading.Lock()
_LOOK_SECONDS = 0.2
_PAUSE_AFTER_FAILURE_SECONDS = 60.0
_LONGEST_PAUSE_SECONDS = 3600.0
_STOP_SECONDS = 5.0


class BuildStopped(Exception):
    """The builder was closed meanwhile."""

    def __init__(self) -> None:
        super().__init__("The building of a search index was stopped.")


class Builder:
    """Runs ``build`` in a thread of its own after ``wake``, until it returns ``False``: nothing more to do.

    ``build`` is told whether it runs in the background, and calls ``going_on`` between its steps. What goes wrong
    in it is logged, and it is tried again after a minute, then two, up to an hour: until then segments in memory
    go on answering.
    """

    def __init__(self, build: Callable[[bool], bool]) -> None:
        self._build = build
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._closed = threading.Event()
        self._due = False  # woken since the thread looked last

    def wake(self) -> None:
        """Start building unless that is under way. Returns at once."""
        with self._lock:
            self._due = True
            if self._thread is not None or self._closed.is_set():
                return
            self._thread = threading.Thread(target=self._run, name="search-builder", daemon=True)
            self._thread.start()

    def going_on(self) -> None:
        """Raise ``BuildStopped`` when the builder was closed."""
        if self._closed.is_set():
            raise BuildStopped

    def run_now(self) -> None:
        """Build all that is due in the calling thread, after what is under way; errors pass through."""
        while self._one(background=False):
            pass

    def close(self) -> None:
        """Stop after the step that is under way. That may be long (training a large index): it is waited for some
        seconds, and ends by itself if it takes longer.
        """
        self._closed.set()
        with self._lock:
            thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(_STOP_SECONDS)
            if thread.is_alive():
                _LOG.info("The building of a search index ends with the step that is under way.")

    def _run(self) -> None:
        pause_seconds = _PAUSE_AFTER_FAILURE_SECONDS
        try:
            while self._goes_on():
                try:
                    while self._one(background=True):
                        pause_seconds = _PAUSE_AFTER_FAILURE_SECONDS
                except BuildStopped:
                    return
                except Exception:
                    _LOG.exception("A search index could not be built; searches scan its rows meanwhile.")
                    self._closed.wait(pause_seconds)
                    pause_seconds = min(2 * pause_seconds, _LONGEST_PAUSE_SECONDS)
                    with self._lock:
                        self._due = True
        finally:
            with self._lock:
                if self._thread is threading.current_thread():
                    self._thread = None

    def _goes_on(self) -> bool:
        """Whether there may be something to build; if not, the next ``wake`` starts a thread of its own."""
        with self._lock:
            due, self._due = self._due, False
            if not due or self._closed.is_set():
                self._thread = None
                return False
        return True

    def _one(self, background: bool) -> bool:
        self.going_on()
        while not _ONE_AT_A_TIME.acquire(timeout=_LOOK_SECONDS):
            self.going_on()
        try:
            return self._build(background)
        finally:
            _ONE_AT_A_TIME.release()
