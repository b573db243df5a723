"""Lists of things to ingest: CSV, JSON lines, parquet, or one address a line.

A row names its thing in a column ``url``, ``file_id``, ``text`` or (for the command line only) ``path``; the column
``id`` is the document's id, ``filename`` its name, and all others are metadata, except that ``metadata`` may hold a
whole object of it. Rows are read one by one, so a list of millions needs no memory.
"""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any, BinaryIO, Literal

from serving.errors import InvalidRequest

if TYPE_CHECKING:
    import pyarrow
    from pyarrow import parquet

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
_BATCH_BYTES = 16 << 20
_MAX_COLUMNS = 256
_MAX_ROW_GROUP_BYTES = 2 << 30
_MAX_NAME_CHARACTERS = 64
_MAX_FIXED_BYTES = 1024
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


class _Rows:
    """Lines of a file for ``csv``, which takes as many for one row as quotes tell it to."""

    def __init__(self, lines: Iterator[str]) -> None:
        self._lines = lines
        self._characters = 0

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line = next(self._lines)
        self._characters += len(line)
        if self._characters > 2 * _LINE_BYTES:
            raise InvalidRequest(
                f"The list has a row of more than {_LINE_BYTES} bytes; is there a quotation mark too many?",
                "file_id",
                "invalid_manifest",
            )
        return line

    def begin(self) -> None:
        """The next line begins a row."""
        self._characters = 0


def _from_csv(file: BinaryIO) -> Iterator[dict[str, Any]]:
    lines = _lines(file)
    header = next(lines, "")
    given = _Rows(lines)
    delimiter = "\t" if "\t" in header else ","
    csv.field_size_limit(_CSV_FIELD_CHARACTERS)
    try:
        names = next(csv.reader([header], delimiter=delimiter), [])
    except csv.Error:
        names = []
    _check_columns(names)
    rows = csv.DictReader(given, names, delimiter=delimiter)
    while True:
        given.begin()
        try:
            row = next(rows)
        except StopIteration:
            return
        except csv.Error:
            yield {"problem": "The line is not CSV."}
            continue
        extra = row.pop(None, None)
        yield {"problem": "The line has more columns than the first."} if extra else _entry(row)


def _from_parquet(file: BinaryIO) -> Iterator[dict[str, Any]]:
    import pyarrow

    try:
        table = _parquet(file)
        for batch in table.iter_batches(_BATCH_ROWS, use_threads=False):
            at_once = max(1, _BATCH_BYTES // max(1, _largest_row_bytes(batch)))
            for first in range(0, batch.num_rows, at_once):
                yield from map(_entry, batch.slice(first, at_once).to_pylist())
    except (pyarrow.ArrowException, OSError, ValueError, OverflowError, KeyError):
        raise InvalidRequest(
            "The list is not a readable parquet file.", "file_id", "invalid_manifest"
        ) from None


def _parquet(file: BinaryIO) -> parquet.ParquetFile:
    """A parquet file whose columns a list may have.

    A small file may stand for very long texts, many times over. So texts are read as references to the different
    ones that the file holds (``read_dictionary``), until a handful of rows is looked at.
    """
    import pyarrow
    from pyarrow import parquet

    metadata = parquet.read_metadata(file)
    schema = metadata.schema.to_arrow_schema()
    _check_columns(schema.names)
    for field in schema:
        is_object = field.name == "metadata" and pyarrow.types.is_struct(field.type)
        for one in field.type if is_object else (field,):
            width = one.type.byte_width if pyarrow.types.is_fixed_size_binary(one.type) else 0
            if pyarrow.types.is_nested(one.type) or width > _MAX_FIXED_BYTES:
                raise InvalidRequest(
                    f"The list's column '{one.name[:_MAX_NAME_CHARACTERS]}' holds lists or objects, which "
                    "metadata cannot.",
                    "file_id",
                    "invalid_manifest",
                )
    for number in range(metadata.num_row_groups):
        if metadata.row_group(number).total_byte_size > _MAX_ROW_GROUP_BYTES:
            raise InvalidRequest(
                "The list's row groups are too large; write it with smaller ones.",
                "file_id",
                "invalid_manifest",
            )
    file.seek(0)
    leaves = [metadata.schema.column(index).path for index in range(len(metadata.schema))]
    return parquet.ParquetFile(file, read_dictionary=leaves)


def _largest_row_bytes(batch: pyarrow.RecordBatch) -> int:
    """A bound of what one row holds in texts. Raises ``InvalidRequest`` for a value that no line could hold."""
    import pyarrow
    from pyarrow import compute

    total = 0
    columns = list(batch.columns)
    while columns:
        column = columns.pop()
        if pyarrow.types.is_struct(column.type):
            columns += column.flatten()
            continue
        values = column.dictionary if pyarrow.types.is_dictionary(column.type) else column
        types = pyarrow.types
        if types.is_string_view(values.type) or types.is_binary_view(values.type):
            values = values.cast(pyarrow.large_binary())
        if any(
            is_text(values.type)
            for is_text in (types.is_string, types.is_binary, types.is_large_string, types.is_large_binary)
        ):
            longest = compute.max(compute.binary_length(values)).as_py() or 0
        else:
            longest = _MAX_FIXED_BYTES
        if longest > _LINE_BYTES:
            raise InvalidRequest(
                f"The list has a value of more than {_LINE_BYTES} bytes.", "file_id", "invalid_manifest"
            )
        total += longest
    return total


def _check_columns(names: Sequence[str]) -> None:
    if not set(names) & {"url", "file_id", "text", "path"}:
        raise InvalidRequest(
            "The list must name its columns, with 'url', 'path', 'file_id' or 'text' among them.",
            "file_id",
            "invalid_manifest",
        )
    if len(names) > _MAX_COLUMNS:
        raise InvalidRequest(f"The list has more than {_MAX_COLUMNS} columns.", "file_id", "invalid_manifest")


def _entry(row: Mapping[str, Any]) -> dict[str, Any]:
    """Own columns and metadata, without those that are empty or have no name."""
    entry: dict[str, Any] = {}
    metadata: dict[str, Any] = {}
    for name, value in row.items():
        value = _plain(value)
        if value is None or value == "" or name == "":  # pandas writes its index under no name
            continue
        if name in _OWN_COLUMNS:
            if not isinstance(value, str | int):
                return {"problem": f"'{name}' is not a text."}
            entry[name] = str(value)
        elif name == "metadata" and isinstance(value, dict):
            metadata.update((str(key), _plain(one)) for key, one in value.items())
        else:
            metadata[str(name)] = value
    for name, value in metadata.items():
        if not 0 < len(name) <= _MAX_NAME_CHARACTERS:
            return {"problem": f"Names of metadata have 1 to {_MAX_NAME_CHARACTERS} characters."}
        # Here already: what is nested deeply might not be read again from the job's own list.
        if value is not None and not isinstance(value, str | int | float | bool):
            return {"problem": "Metadata values must be strings, numbers or booleans."}
    if not all(map(_is_unicode, (*entry.values(), *metadata, *metadata.values()))):
        return {"problem": "There are halves of characters (lone surrogates) in the text."}
    if metadata:
        entry["metadata"] = {key: value for key, value in metadata.items() if value is not None}
    return entry


def _is_unicode(value: Any) -> bool:
    """Whether it can be written as UTF-8: JSON can name lone surrogates."""
    try:
        return not isinstance(value, str) or value.isascii() or bool(value.encode())
    except UnicodeEncodeError:
        return False


def _plain(value: Any) -> Any:
    """Values of parquet as JSON has them."""
    if isinstance(value, Decimal):
        value = float(value)
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, datetime | date | time):
        return value.isoformat()
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return value
