"""Reading the audit log, and telling whether anything in it was changed, removed, added or put in another order."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from serving.audit.chain import (
    FIRST,
    HEADS,
    SEGMENTS,
    Head,
    audit_secret,
    line_hash,
    read_head,
    segment_key,
    unsealed_segment,
)
from storage.errors import CorruptObject, InvalidKey, ObjectNotFound
from storage.objects import ObjectStore

__all__ = ["AuditFinding", "AuditReport", "entries", "verify_audit"]


@dataclass(frozen=True, slots=True)
class AuditFinding:
    """What is wrong with a chain, and from which of its entries on."""

    gateway: str
    number: int
    what: str


@dataclass(frozen=True, slots=True)
class AuditReport:
    """How much was read and what is wrong. ``lost`` is what gateways said they could not note; ``open`` are chains
    without an orderly end: their gateways are running, or were killed.
    """

    chains: int
    entries: int
    lost: int
    open: tuple[str, ...]
    findings: tuple[AuditFinding, ...]

    @property
    def clean(self) -> bool:
        """Whether nothing was tampered with."""
        return not self.findings


def verify_audit(objects: ObjectStore, secret: bytes) -> AuditReport:
    """Check all chains. Safe beside running gateways. ``secret`` is the platform's. Raises ``StoreUnavailable``."""
    report = _Verifier(objects, audit_secret(secret)).run()
    # A chain that began while others were being read may name what they have written since: look once more.
    return report if report.clean else _Verifier(objects, audit_secret(secret)).run()


def entries(objects: ObjectStore) -> Iterator[dict[str, Any]]:
    """All entries as they are stored, chain by chain, each with its ``gateway``; lines that are no JSON are passed.

    Whether they are what was written says ``verify_audit``.
    """
    for info in objects.list(SEGMENTS):
        gateway = info.key.split("/")[1]
        try:
            lines = objects.get(info.key).splitlines()[:-1]
        except (ObjectNotFound, CorruptObject, InvalidKey):
            continue
        for line in lines:
            try:
                entry = json.loads(line)
            except ValueError:
                continue
            if isinstance(entry, dict):
                yield {"gateway": gateway, **entry}


class _Verifier:
    def __init__(self, objects: ObjectStore, secret: bytes) -> None:
        self._objects = objects
        self._secret = secret
        self._findings: list[AuditFinding] = []
        self._hashes: dict[str, list[str]] = {}
        self._anchors: list[tuple[str, int, str, Head]] = []
        self._open: list[str] = []
        self._lost = 0

    def run(self) -> AuditReport:
        # Heads first: a segment is written before its head, so what a head names must be there.
        heads = {info.key.removeprefix(HEADS): self._read(info.key) for info in self._objects.list(HEADS)}
        segments: dict[str, list[str]] = {}
        for info in self._objects.list(SEGMENTS):
            parts = info.key.split("/")
            if len(parts) != 3:
                self._found(parts[1], 0, "an object that is no segment")
                continue
            segments.setdefault(parts[1], []).append(info.key)
        for gateway in sorted(heads.keys() | segments.keys()):
            self._chain(gateway, sorted(segments.get(gateway, [])))
            self._check_head(gateway, heads.get(gateway))
        for gateway, number, other, head in self._anchors:
            if not self._has(other, head):
                self._found(other, head.number, f"missing, though chain {gateway} saw it at entry {number}")
        hashes = self._hashes.values()
        return AuditReport(
            len(self._hashes),
            sum(map(len, hashes)),
            self._lost,
            tuple(self._open),
            tuple(self._findings),
        )

    def _chain(self, gateway: str, keys: list[str]) -> None:
        hashes = self._hashes.setdefault(gateway, [])
        previous, last_kind = FIRST, ""
        for key in keys:
            number = len(hashes)
            if key != segment_key(gateway, number):
                self._found(gateway, number, "entries are missing")
                return
            lines = unsealed_segment(self._secret, key, self._read(key))
            if lines is None:
                self._found(gateway, number, "a segment was changed")
                return
            for line in lines:
                entry = json.loads(line)
                if entry["number"] != len(hashes) or entry["previous"] != previous:
                    self._found(gateway, len(hashes), "entries do not follow one another")
                    return
                self._look_at(gateway, entry)
                previous, last_kind = line_hash(line), entry["kind"]
                hashes.append(previous)
        if last_kind != "stop":
            self._open.append(gateway)

    def _look_at(self, gateway: str, entry: dict[str, Any]) -> None:
        if entry["kind"] == "gap":
            self._lost += entry["lost"]
        elif entry["kind"] == "start":
            for other, (number, hash_) in entry["chains"].items():
                self._anchors.append((gateway, entry["number"], other, Head(number, hash_)))

    def _check_head(self, gateway: str, stored: bytes | None) -> None:
        head = None if stored is None else read_head(self._secret, gateway, stored)
        if head is not None:
            if not self._has(gateway, head):
                self._found(gateway, head.number, "the end is missing")
        else:
            self._found(gateway, len(self._hashes[gateway]), "the head is missing or was changed")

    def _has(self, gateway: str, head: Head) -> bool:
        hashes = self._hashes.get(gateway, [])
        if head.number < 0:
            return gateway in self._hashes
        return head.number < len(hashes) and hashes[head.number] == head.hash

    def _read(self, key: str) -> bytes:
        try:
            return self._objects.get(key)
        except (ObjectNotFound, CorruptObject, InvalidKey):
            return b""

    def _found(self, gateway: str, number: int, what: str) -> None:
        self._findings.append(AuditFinding(gateway, number, what))
