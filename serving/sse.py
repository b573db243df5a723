"""Server-sent events on the hot path: bytes go through unparsed unless an event needs a second look.

An event is parsed only when it ends a choice (``finish_reason``), counts tokens (``usage``) or reports an
error; one regular-expression search per chunk finds out. Inside JSON strings quotes are escaped, so text that
a model writes cannot look like these keys.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Protocol

import msgspec

__all__ = ["DONE", "Event", "EventRewriter", "StreamRewriter"]

DONE = b"data: [DONE]\n\n"

_INTERESTING = re.compile(rb'"(?:finish_reason":\s*"|usage":\s*\{|error":\s*\{)')
_EVERY = re.compile(rb"data: *\{")

Event = dict[str, Any]


class StreamRewriter(Protocol):
    """Makes what is sent of what the engine's stream brings."""

    done: bool
    """Whether the stream has come to its proper end."""
    failure: Exception | None
    """What went wrong in the last ``feed``; what it gave is still to be sent."""

    def feed(self, chunk: bytes) -> bytes:
        """What is to be sent for ``chunk``."""
        ...


class EventRewriter:
    """Feeds a stream of bytes through, handing interesting events to ``rewrite``.

    With ``every`` all events are interesting. ``rewrite`` gets a decoded event and returns the event to send, or
    ``None`` to drop it. ``done`` tells whether the closing ``[DONE]`` has been seen, ``failure`` what ``rewrite``
    raised: the bytes before that event are still given out, those behind it are not.
    """

    def __init__(self, rewrite: Callable[[Event], Event | None], *, every: bool = False) -> None:
        self._rewrite = rewrite
        self._interesting = _EVERY if every else _INTERESTING
        self._rest = b""
        self.done = False
        self.failure: Exception | None = None

    def feed(self, chunk: bytes) -> bytes:
        """Bytes to send on for ``chunk``; an event that is not yet whole is kept back."""
        if self._rest:
            chunk = self._rest + chunk
            self._rest = b""
        if not chunk.endswith(b"\n\n"):
            end = chunk.rfind(b"\n\n") + 2 if b"\n\n" in chunk else 0
            chunk, self._rest = chunk[:end], chunk[end:]
        if chunk.endswith(DONE):
            self.done = True
        if self._interesting.search(chunk) is None:
            return chunk
        sent = b""
        try:
            for event in filter(None, chunk.split(b"\n\n")):
                sent += self._event(event)
        except Exception as error:
            self.failure = error
        return sent

    def _event(self, event: bytes) -> bytes:
        event = event.lstrip(b"\n")  # more than one blank line before it
        if not event.startswith(b"data:") or self._interesting.search(event) is None:
            return event + b"\n\n"
        rewritten = self._rewrite(msgspec.json.decode(event[5:]))
        return b"" if rewritten is None else b"data: " + msgspec.json.encode(rewritten) + b"\n\n"
