"""Whether a saved segment is of the past of the table as it is now.

Fragment ids tell only as long as versions go forward. A table that was put back from a backup goes on from an older
version and uses ids again that segments, saved later and not put back with it, know for other rows. So a segment
keeps what tells a fragment from all others: the names of its files, which are random.
"""

from __future__ import annotations

from search.segment import Segment
from search.segment_record import SegmentRecord
from search.table_state import TableState

__all__ = ["descends"]


def descends(state: TableState, record: SegmentRecord, segment: Segment) -> bool:
    """Whether what is alive at ``state`` in the fragments of a segment is among the segment's rows."""
    now = {one.id: one.deleted_rows for one in state.fragments if one.id in record.fragments}
    grown = []
    for fragment, origin in state.origins(now).items():
        then = record.origins.get(fragment)
        if then is None or origin.data != then.data or now[fragment] < record.fragments[fragment]:
            return False
        if now[fragment] > record.fragments[fragment]:
            grown.append(fragment)
        elif origin.deletions != then.deletions:
            return False
    if not grown:
        return True
    return bool((segment.columns.at_addresses(state.live_addresses(grown)) >= 0).all())
