"""Writing the audit log: requests note what happened, a task of the gateway's writes it down every second."""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

from prometheus_client import CollectorRegistry, Counter

from serving.audit.chain import (
    FIRST,
    HEADS,
    Head,
    audit_secret,
    head_bytes,
    line_hash,
    read_head,
    sealed_segment,
    segment_key,
    written_line,
)
from storage.errors import StorageError
from storage.objects import ObjectStore

__all__ = ["AuditLog", "AuditMetrics"]

_MAX_WAITING = 10_000
_MAX_SEGMENT = 2_000
_MAX_ANCHORS = 32
_MAX_STRANGERS = 20
_FLUSH_SECONDS = 1.0
_CLOSE_SECONDS = 5.0

_log = logging.getLogger("manymodal.gateway")


class AuditMetrics:
    """What the log counts."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.written = Counter("manymodal_audit_entries", "Entries that are in the store.", registry=registry)
        self.lost = Counter(
            "manymodal_audit_lost", "Entries that the buffer had no room for.", registry=registry
        )
        self.failures = Counter(
            "manymodal_audit_failures", "Writes that the store did not take.", registry=registry
        )


class AuditLog:
    """One gateway's chain. ``note`` never waits; ``run`` writes until it is cancelled, then ``close``.

    While the store does not answer, entries wait, at most ``max_waiting``. What comes on top is counted, and an
    entry says how many are missing (``gap``). What was noted in the last second before a crash is lost. Who has no
    key can neither fill the store by it nor push others out: of what strangers are refused, so much is noted one by
    one between two writes, the rest as a number (``refusals``). ``clock`` gives seconds since the epoch. Use from
    one event loop.
    """

    def __init__(
        self,
        objects: ObjectStore,
        secret: bytes,
        metrics: AuditMetrics,
        clock: Callable[[], float] = time.time,
        max_waiting: int = _MAX_WAITING,
    ) -> None:
        self.gateway = f"{int(clock() * 1000):012x}-{secrets.token_hex(8)}"
        self._objects = objects
        self._secret = audit_secret(secret)
        self._metrics = metrics
        self._clock = clock
        self._max_waiting = max_waiting
        self._waiting: deque[dict[str, Any]] = deque()
        self._lost = 0
        self._strangers = 0
        self._head = Head(-1, FIRST)
        self._unwritten: tuple[str, bytes, Head, int] | None = None
        self._writing = asyncio.Lock()

    def note(self, kind: str, fields: Mapping[str, Any]) -> None:
        """Note what happened. ``fields`` are JSON values, and nothing of a prompt, a medium or a URL's query."""
        if len(self._waiting) >= self._max_waiting:
            self._lost += 1
            self._metrics.lost.inc()
            return
        self._waiting.append({"at": int(self._clock() * 1000), "kind": kind, **fields})

    def note_refusal(self, kind: str, fields: Mapping[str, Any]) -> None:
        """Note that somebody unknown was refused."""
        self._strangers += 1
        if self._strangers <= _MAX_STRANGERS:
            self.note(kind, fields)

    async def run(self) -> None:
        """Begin the chain, and write what was noted every second; at once where more waits than fits a segment."""
        while True:
            if not await self.flush() or len(self._waiting) < _MAX_SEGMENT:
                await asyncio.sleep(_FLUSH_SECONDS)

    async def close(self) -> None:
        """Write what is left, and that the chain ends here."""
        self._waiting.extend([*self._sums(), {"at": int(self._clock() * 1000), "kind": "stop"}])
        try:
            async with asyncio.timeout(_CLOSE_SECONDS):
                while (self._waiting or self._unwritten) and await self.flush():
                    pass
        except TimeoutError:
            _log.error("The end of the audit log could not be written in time.")

    async def flush(self) -> bool:
        """Write what was noted, at most one segment; whether the store took it."""
        async with self._writing:
            try:
                if self._unwritten is None:
                    self._unwritten = await self._next_segment()
                if self._unwritten is not None:
                    await asyncio.to_thread(self._write, *self._unwritten)
                    self._metrics.written.inc(self._unwritten[3])
                    self._unwritten = None
            except StorageError as error:
                self._metrics.failures.inc()
                _log.error("The audit log was not written and waits: %s", error)
                return False
            return True

    async def _next_segment(self) -> tuple[str, bytes, Head, int] | None:
        """Key and bytes of the next segment, the head after it, and how many entries it has."""
        entries: list[dict[str, Any]] = []
        now = int(self._clock() * 1000)
        if self._head.number < 0:
            anchors = await asyncio.to_thread(self._begin)
            entries.append({"at": now, "kind": "start", "chains": anchors})
        elif not self._waiting and not self._lost:
            return None
        while self._waiting and len(entries) < _MAX_SEGMENT:
            entries.append(self._waiting.popleft())
        if not self._waiting:  # lost after all that waited
            entries += self._sums()
        lines: list[bytes] = []
        number, previous = self._head.number, self._head.hash
        for entry in entries:
            number += 1
            lines.append(written_line(entry, number, previous))
            previous = line_hash(lines[-1])
        key = segment_key(self.gateway, self._head.number + 1)
        self._head = Head(number, previous)
        return key, sealed_segment(self._secret, key, lines), self._head, len(lines)

    def _sums(self) -> list[dict[str, Any]]:
        """Entries for what was not noted one by one."""
        now = int(self._clock() * 1000)
        sums: list[dict[str, Any]] = []
        if self._lost:
            sums.append({"at": now, "kind": "gap", "lost": self._lost})
        if self._strangers > _MAX_STRANGERS:
            sums.append({"at": now, "kind": "refusals", "more": self._strangers - _MAX_STRANGERS})
        self._lost = self._strangers = 0
        return sums

    def _write(self, key: str, segment: bytes, head: Head, _: int) -> None:
        if not self._objects.put_if_absent(key, segment) and self._objects.get(key) != segment:
            # Nobody else writes here. The chain will not fit, which is what the verifier is for.
            _log.error("A segment of the audit log was there already: %s", key)
        self._put_head(head)

    def _put_head(self, head: Head) -> None:
        self._objects.put(HEADS + self.gateway, head_bytes(self._secret, self.gateway, head))

    def _begin(self) -> dict[str, list[Any]]:
        """Announce the chain; the heads of the newest others, whose names begin with the time they began."""
        self._put_head(self._head)
        names = [info.key.removeprefix(HEADS) for info in self._objects.list(HEADS)]
        heads: dict[str, list[Any]] = {}
        for name in sorted(set(names) - {self.gateway})[-_MAX_ANCHORS:]:
            head = read_head(self._secret, name, self._objects.get(HEADS + name))
            if head is not None:  # else the verifier says so
                heads[name] = [head.number, head.hash]
        return heads
