"""The list of a job as it is stored: made of what a request or a manifest names, and read again item by item."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from typing import Any, BinaryIO

from serving.errors import InvalidRequest, LimitExceeded
from serving.ingest.items import Item
from serving.ingest.jobs import item_line
from serving.ingest.progress import Progress
from serving.protocol.search import ID_PATTERN
from serving.spooling import written

__all__ = ["item_of", "items_of", "write_list"]

_SOURCES = ("url", "file_id", "text")
_LINES_AT_ONCE = 256
_BYTES_AT_ONCE = 8 << 20
_MAX_LINE_BYTES = 4 << 20
_MAX_METADATA = 32
_MAX_FILENAME_CHARACTERS = 255
_ID = re.compile(ID_PATTERN)


def write_list(entries: Iterable[Mapping[str, Any]], file: BinaryIO, max_items: int) -> int:
    """Write entries to ``file``, one a line, and go back to its beginning; how many there are.

    Blocks. Raises ``LimitExceeded`` beyond ``max_items``, ``InvalidRequest`` for an empty list, and
    ``StoreUnavailable`` when there is no room.
    """
    count = 0
    for entry in entries:
        if count == max_items:
            raise LimitExceeded(f"A job can have at most {max_items} items (max_items).", "items")
        line = item_line(dict(entry))
        if len(line) > _MAX_LINE_BYTES:
            line = item_line({"problem": f"The entry is longer than {_MAX_LINE_BYTES} bytes."})
        written(file, line)
        count += 1
    if count == 0:
        raise InvalidRequest("The list holds nothing to ingest.", "items")
    file.seek(0)
    return count


def item_of(number: int, entry: Mapping[str, Any], upload: Callable[[], BinaryIO] | None = None) -> Item:
    """An entry of a list as an item, with its bytes if they are at hand (``upload``); what is wrong with it is the
    item's ``problem``.
    """
    problem = entry.get("problem") or _problem(entry, has_upload=upload is not None)
    metadata = entry.get("metadata") or {}
    return Item(
        number,
        url=entry.get("url"),
        file_id=entry.get("file_id"),
        text=entry.get("text"),
        upload=upload,
        document_id=entry.get("id"),
        filename=entry.get("filename"),
        metadata=metadata if isinstance(metadata, dict) else {},
        problem=problem,
    )


async def items_of(file: BinaryIO, progress: Progress) -> AsyncIterator[Item]:
    """Items of a stored list that have not ended, as ``progress`` has room for them. ``file`` is closed."""

    def lines() -> Iterator[tuple[int, bytes]]:
        yield from enumerate(file)

    reading = lines()

    def next_lines() -> list[tuple[int, bytes]]:
        taken: list[tuple[int, bytes]] = []
        size_bytes = 0
        for one in reading:
            taken.append(one)
            size_bytes += len(one[1])
            if len(taken) == _LINES_AT_ONCE or size_bytes >= _BYTES_AT_ONCE:
                break
        return taken

    try:
        while some := await asyncio.to_thread(next_lines):
            for number, line in some:
                if progress.has_ended(number):
                    continue
                await progress.room_for(number)
                yield item_of(number, json.loads(line))
    finally:
        file.close()


def _problem(entry: Mapping[str, Any], *, has_upload: bool) -> str | None:
    if "path" in entry and not any(name in entry for name in _SOURCES):
        return "The server reads no paths: upload the file and name its id, or use `manymodal index`."
    named = [name for name in _SOURCES if entry.get(name)]
    if len(named) + has_upload != 1:
        return "An item needs exactly one of 'url', 'file_id' and 'text'."
    url = entry.get("url")
    if url is not None and not url.lower().startswith(("http://", "https://")):
        return "The address must begin with http:// or https://."
    document_id = entry.get("id")
    if document_id is not None and not _ID.fullmatch(document_id):
        return "The id must be 1 to 128 letters, digits and _ . : @ - and begin with a letter, a digit or _."
    if len(entry.get("filename") or "") > _MAX_FILENAME_CHARACTERS:
        return f"The file name is longer than {_MAX_FILENAME_CHARACTERS} characters."
    if len(entry.get("metadata") or {}) > _MAX_METADATA:
        return f"An item can have at most {_MAX_METADATA} metadata fields."
    return None
