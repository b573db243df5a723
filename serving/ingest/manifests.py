"""Lists of things to ingest: CSV, JSON lines, parquet, or one address a line.

A row names its thing in a column ``url``, ``file_id``, ``text`` or (for the command line only) ``path``; the column
``id`` is the document's id, ``filename`` its name, and all others are metadata, except that ``metadata`` may hold a
whole object of it. Rows are read one by one, so a list of millions needs no memory.
"""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Iterator, Mapping
from datetime import date, datetime
from itertools import chain
from typing import Any, BinaryIO, Literal

from serving.errors import InvalidRequest

__all__ = ["MANIFEST_SUFFIXES", "ManifestFormat", "entries_of", "format_of"]

ManifestFormat = Literal["csv", "jsonl", "parquet", "urls"]

MANIFEST_SUFFIXES: Mapping[str, ManifestFormat] = {
    ".csv": "csv",
    ".tsv": "csv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".parquet": "parquet",
    ".urls": "urls",
}
"""What the end of a file's name says about it. A ``.txt`` is a list only if it looks like one."""

_PARQUET = b"PAR1"
_LINE_BYTES = 1 << 20
_BATCH_ROWS = 1024
_OWN_COLUMNS = ("url", "file_id", "text", "path", "id", "filename")
_CSV_FIELD_CHARACTERS = 1 << 20


def format_of(name: str, head: bytes) -> ManifestFormat | None:
    """What kind of list a file is, by its name and its first bytes; ``None``: none."""
    if head.startswith(_PARQUET):
        return "parquet"
    suffix = f".{name.rpartition('.')[2].lower()}" if "." in name else ""
    known = MANIFEST_SUFFIXES.get(suffix)
    if known is not None:
        return None if known == "parquet" else known
    first = head.partition(b"\n")[0].strip()
    if first.startswith((b"http://", b"https://")):
        return "urls"
    return "jsonl" if first.startswith(b"{") else None


def entries_of(file: BinaryIO, form: ManifestFormat) -> Iterator[dict[str, Any]]:
    """The rows of a list, each a dictionary of columns that have a value, ``metadata`` among them.

    What cannot be read of a row stands in its place as ``{"problem": "..."}``. Raises ``InvalidRequest`` when it
    is no such list at all.
    """
    match form:
        case "urls":
            return ({"url": line} for line in map(str.strip, _lines(file)) if line and line[0] != "#")
        case "jsonl":
            return (_from_json(line) for line in map(str.strip, _lines(file)) if line)
        case "csv":
            return _from_csv(file)
        case "parquet":
            return _from_parquet(file)


def _lines(file: BinaryIO) -> Iterator[str]:
    while line := file.readline(_LINE_BYTES):
        if len(line) == _LINE_BYTES and not line.endswith(b"\n"):
            raise InvalidRequest(
                f"The list has a line of more than {_LINE_BYTES} bytes.", "file_id", "invalid_manifest"
            )
        try:
            yield line.decode("utf-8-sig")
        except UnicodeDecodeError:
            raise InvalidRequest("The list is not UTF-8 text.", "file_id", "invalid_manifest") from None


def _from_json(line: str) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        return {"problem": "The line is not JSON."}
    if isinstance(row, str):
        return {"url": row}
    if not isinstance(row, dict):
        return {"problem": "The line is not a JSON object."}
    return _entry(row)


def _from_csv(file: BinaryIO) -> Iterator[dict[str, Any]]:
    lines = _lines(file)
    header = next(lines, "")
    rows = csv.DictReader(chain([header], lines), delimiter="\t" if "\t" in header else ",", restkey="")
    csv.field_size_limit(_CSV_FIELD_CHARACTERS)
    if not set(rows.fieldnames or ()) & {"url", "file_id", "text", "path"}:
        raise InvalidRequest(
            "The list's first line must name its columns, with 'url', 'path', 'file_id' or 'text' among them.",
            "file_id",
            "invalid_manifest",
        )
    while True:
        try:
            row = next(rows)
        except StopIteration:
            return
        except csv.Error:
            yield {"problem": "The line is not CSV."}
            continue
        extra = row.pop("", None)
        yield {"problem": "The line has more columns than the first."} if extra else _entry(row)


def _from_parquet(file: BinaryIO) -> Iterator[dict[str, Any]]:
    import pyarrow
    from pyarrow import parquet

    try:
        table = parquet.ParquetFile(file)
        if not set(table.schema_arrow.names) & {"url", "file_id", "text", "path"}:
            raise InvalidRequest(
                "The list must have a column 'url', 'path', 'file_id' or 'text'.",
                "file_id",
                "invalid_manifest",
            )
        for batch in table.iter_batches(_BATCH_ROWS):
            yield from map(_entry, batch.to_pylist())
    except (pyarrow.ArrowException, OSError):
        raise InvalidRequest(
            "The list is not a readable parquet file.", "file_id", "invalid_manifest"
        ) from None


def _entry(row: Mapping[str, Any]) -> dict[str, Any]:
    """Own columns and metadata, without those that are empty."""
    entry: dict[str, Any] = {}
    metadata: dict[str, Any] = {}
    for name, value in row.items():
        value = _plain(value)
        if value is None or value == "":
            continue
        if name in _OWN_COLUMNS:
            if not isinstance(value, str | int):
                return {"problem": f"'{name}' is not a text."}
            entry[name] = str(value)
        elif name == "metadata" and isinstance(value, dict):
            metadata.update((key, _plain(one)) for key, one in value.items())
        else:
            metadata[str(name)] = value
    if metadata:
        entry["metadata"] = {key: value for key, value in metadata.items() if value is not None}
    return entry


def _plain(value: Any) -> Any:
    """Values of parquet as JSON has them."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, datetime | date):
        return value.isoformat()
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return value
