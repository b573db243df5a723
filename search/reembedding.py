"""A whole collection embedded anew by another model, behind an alias, while the old one serves.

The target is made, and both collections are compared, document by document: what the source has and the target has
not is encoded and added, in order of the ids; what only the target has is removed. A copy keeps the time at which
the original was added, so a document that was written again since is found by its time. The target itself is
therefore the memory of how far a run came: after a crash, the same call goes on.

Comparing is repeated, for what was written to the source meanwhile, until little is left. Then writes to the source
are paused for a moment, the rest is brought over, and the alias is pointed to the target. Writers that come through
the alias wait for that moment and go to the target; those that name the source itself go on there a second later.

Guaranteed: whatever was acknowledged by the source before the alias was switched is in the target, deletions
included; whatever is acknowledged through the alias after it, is the target's alone. Searches through the alias
answer from the source or, up to a second later in other processes, from the target, never from half of one. Two
conditions: nobody writes to the target by its own name meanwhile, and the machines' clocks agree to within seconds.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import pyarrow as pa

from search.aliases import SEEN_ELSEWHERE_SECONDS
from search.catalogue import OpenCollection
from search.engine import SearchEngine
from search.errors import InvalidQuery, SearchUnavailable
from search.rows import rows_table
from search.table import RowTable
from search.types import CollectionSpec, Row, StoredDocument

__all__ = ["Encode", "Reembedding", "reembed"]

Encode = Callable[[Sequence[StoredDocument]], Sequence[Row]]
"""Rows by the new model of some documents. Every row's ``document_id`` is that of one of them; a document of which
there are no rows is left out of the target.
"""

_BATCH_DOCUMENTS = 256
_FEW_DOCUMENTS = 16  # may be encoded while writers wait
_MAX_ROUNDS = 50
_PAUSE_SECONDS = 25.0  # less than writers wait
_PAUSE_LEFT_SECONDS = 10.0  # when the alias is switched: for clocks that differ


@dataclass(frozen=True, slots=True)
class Reembedding:
    """What a run did: documents encoded and added, and removed as they had left the source."""

    copied: int
    removed: int


def reembed(
    engine: SearchEngine,
    tenant: str,
    source: str,
    target_spec: CollectionSpec,
    target: str,
    alias: str,
    encode: Encode,
) -> Reembedding:
    """Bring all documents of ``source``, encoded by another model, to ``target``, and point ``alias`` to it.

    May be called again after a crash or an error, with the same arguments. Raises what ``encode`` raises, the
    errors of ``search.errors``, and ``SearchUnavailable`` when the source changes faster than it can be followed.
    """
    if len({source, target, alias}) < 3:
        raise InvalidQuery("Source, target and alias of a re-embedding need three different names.")
    engine.create(tenant, target, target_spec)
    run = _Run(engine, tenant, engine.opened(tenant, source), engine.opened(tenant, target), encode)
    for _ in range(_MAX_ROUNDS):
        while run.bring_over() > _FEW_DOCUMENTS:
            pass
        if run.switch(alias):
            return Reembedding(run.copied, run.removed)
    raise SearchUnavailable("The collection changes faster than it can be re-embedded. Try again later.")


class _Run:
    def __init__(
        self,
        engine: SearchEngine,
        tenant: str,
        source: OpenCollection,
        target: OpenCollection,
        encode: Encode,
    ) -> None:
        self._engine = engine
        self._tenant = tenant
        self._source = source
        self._target = target
        self._encode = encode
        self._left_out: dict[str, float] = {}  # documents that encode made no rows of, and of when they are
        self.copied = 0
        self.removed = 0

    def switch(self, alias: str) -> bool:
        """Point the alias while nobody writes to the source; ``False`` if it took too long to be sure of that."""
        table = self._source.table
        paused_until = time.time() + _PAUSE_SECONDS
        table.pause_writes(paused_until)
        try:
            # Again until nothing is missing: while others search, documents may be read as they were a moment ago.
            while self.bring_over() and time.time() <= paused_until - _PAUSE_LEFT_SECONDS:
                pass
            if time.time() > paused_until - _PAUSE_LEFT_SECONDS:
                return False
            self._engine.point_alias(self._tenant, alias, self._target.table.name)
            time.sleep(SEEN_ELSEWHERE_SECONDS * 1.5)  # until nobody takes the alias for the source's any more
            return True
        finally:
            table.resume_writes()

    def bring_over(self) -> int:
        """Make the target what the source is now; returns how many documents that took."""
        wanted, there = _times(self._source.table), _times(self._target.table)
        leaving = sorted(there.keys() - wanted.keys())
        for start in range(0, len(leaving), _BATCH_DOCUMENTS):
            self._target.writer.delete(leaving[start : start + _BATCH_DOCUMENTS])
        self.removed += len(leaving)
        missing = sorted(
            document_id
            for document_id, added in wanted.items()
            if there.get(document_id) != added and self._left_out.get(document_id) != added
        )
        for start in range(0, len(missing), _BATCH_DOCUMENTS):
            self._copy(missing[start : start + _BATCH_DOCUMENTS])
        return len(leaving) + len(missing)

    def _copy(self, document_ids: Sequence[str]) -> None:
        documents = self._source.reader.documents(document_ids)
        times = {document.document_id: document.created_at_seconds for document in documents}
        by_document: dict[str, list[Row]] = {document_id: [] for document_id in times}
        for row in self._encode(documents):
            if row.document_id not in by_document:
                raise InvalidQuery("Re-embedding gave a row of a document that it was not given.")
            by_document[row.document_id].append(row)
        self._left_out |= {name: times[name] for name, rows in by_document.items() if not rows}
        table = self._target.table
        copies = [
            rows_table(self._tenant, rows, table.spec, times[document_id])
            for document_id, rows in by_document.items()
            if rows
        ]
        gone = [document_id for document_id in document_ids if not by_document.get(document_id)]
        if gone:  # an older copy may be there
            self._target.writer.delete(gone)
        if copies:
            kept = [document_id for document_id, rows in by_document.items() if rows]
            self._engine.write(self._target, pa.concat_tables(copies), kept)
            self.copied += len(kept)


def _times(table: RowTable) -> dict[str, float]:
    """All documents of a table's newest version and when they were added."""
    return dict(_rows_times(table))


def _rows_times(table: RowTable) -> Iterator[tuple[str, float]]:
    state = table.state()
    for fragment in state.fragments:
        found = state.read([fragment.id], ["document_id", "created_at_seconds"])
        ids, times = found.column("document_id").to_pylist(), found.column("created_at_seconds").to_pylist()
        yield from zip(ids, times, strict=True)
