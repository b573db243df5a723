"""Loading takes longer than old versions are kept: the newest version is shown all the same."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import timedelta

import numpy as np
import pyarrow as pa
import pytest
from search_collections import DIMENSIONS, OpenTable, open_table

from search.config import SearchConfig
from search.errors import SearchUnavailable
from search.table import TableState
from search.types import Query, Row

VECTOR = np.ones(DIMENSIONS, dtype=np.float32)


@pytest.fixture
def table(config: SearchConfig) -> OpenTable:
    table = open_table(config.root, s3=config.s3)
    for number in range(40):
        table.add([Row(f"d{number}", "image", VECTOR)])
    return table


def clear(table: OpenTable) -> None:
    """Write all fragments anew and take the old ones away."""
    dataset = table.table.state()._dataset
    dataset.checkout_latest()
    anchor = dataset.get_fragments()[0].fragment_id
    dataset.optimize.compact_files(excluded_fragment_ids=[anchor])
    dataset.checkout_latest()
    dataset.cleanup_old_versions(older_than=timedelta(0))


def test_what_goes_while_it_is_loaded_is_read_in_the_newest_version(
    table: OpenTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = TableState.read
    reads = 0

    def slow(
        state: TableState, fragment_ids: Iterable[int], columns: Sequence[str] | None = None
    ) -> pa.Table:
        nonlocal reads
        reads += 1
        if reads == 3:
            clear(table)
        return read(state, fragment_ids, columns)

    monkeypatch.setattr(TableState, "read", slow)
    reader = table.reader()
    hits = reader.search(Query(VECTOR, top_k=100)).hits
    assert sorted(hit.document_id for hit in hits) == sorted(f"d{number}" for number in range(40))
    assert reader.counts()[:2] == (40, 40)
    assert reads > 3
    reader.close()


def test_a_store_that_is_away_is_an_error_at_once(table: OpenTable, monkeypatch: pytest.MonkeyPatch) -> None:
    reads = 0

    def away(*_: object) -> pa.Table:
        nonlocal reads
        reads += 1
        raise SearchUnavailable("The store is away.")

    reader = table.reader()
    with monkeypatch.context() as patch:
        patch.setattr(TableState, "read", away)
        with pytest.raises(SearchUnavailable, match="away"):
            reader.search(Query(VECTOR))
    assert reads == 1
    assert len(reader.search(Query(VECTOR, top_k=100)).hits) == 40
    reader.close()
