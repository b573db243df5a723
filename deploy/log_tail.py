"""The ends of files that are being written to."""

from __future__ import annotations

from pathlib import Path

__all__ = ["last_lines", "new_lines"]

_BLOCK_BYTES = 64 << 10
_MOST_BYTES = 32 << 20


def last_lines(file: Path, count: int, end: int | None = None) -> list[str]:
    """The last ``count`` lines, of at most 32 MiB, before byte ``end``; none of a file that is not there."""
    if count <= 0:
        return []
    try:
        with file.open("rb") as lines:
            end = lines.seek(0, 2) if end is None else end
            start, content, block_bytes = end, b"", _BLOCK_BYTES
            # One more than asked for: the first may be cut.
            while start > 0 and content.count(b"\n") <= count and end - start < _MOST_BYTES:
                start, block_bytes = max(0, start - block_bytes), 2 * block_bytes
                lines.seek(start)
                content = lines.read(end - start)
    except OSError:
        return []
    return content.decode("utf-8", "replace").splitlines()[-count:]


def new_lines(file: Path, place: int) -> tuple[list[str], int]:
    """Whole lines from byte ``place`` on, and where the next begin. One that is still being written is left for
    then; a file that became shorter is read from its beginning.
    """
    try:
        with file.open("rb") as lines:
            end = lines.seek(0, 2)
            if end < place:
                place = 0
            lines.seek(place)
            content = lines.read(min(end - place, _MOST_BYTES))
    except OSError:
        return [], place
    whole = content.rfind(b"\n") + 1
    return content[:whole].decode("utf-8", "replace").splitlines(), place + whole
