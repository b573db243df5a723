"""Lists of things to ingest, of every kind."""

from __future__ import annotations

import io
from datetime import UTC, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import parquet

from serving.errors import InvalidRequest, LimitExceeded
from serving.ingest import listing
from serving.ingest.listing import item_of, items_of, write_list
from serving.ingest.manifests import ManifestFormat, entries_of, format_of
from serving.ingest.progress import Progress
from storage.errors import StoreUnavailable


def read(content: bytes, form: ManifestFormat) -> list[dict[str, Any]]:
    return list(entries_of(io.BytesIO(content), form))


def test_csv_has_own_columns_metadata_and_quoted_lines() -> None:
    content = 'url,id,stars,note\nhttp://e.org/a.png,a,5,"two\nlines"\nhttp://e.org/b.png,,,\nx,y,z,n,more\n'
    assert read(b"\xef\xbb\xbf" + content.encode(), "csv") == [
        {"url": "http://e.org/a.png", "id": "a", "metadata": {"stars": "5", "note": "two\nlines"}},
        {"url": "http://e.org/b.png"},
        {"problem": "The line has more columns than the first."},
    ]
    assert read(b"text\tid\nhello, world\tx\n", "csv") == [{"text": "hello, world", "id": "x"}]


def test_json_lines_say_what_is_wrong_in_their_place() -> None:
    content = b'{"text": "a", "metadata": {"n": 1, "nothing": null}, "ok": true}\n\nnonsense\n[1]\n"http://e.org/a"\n'
    assert read(content, "jsonl") == [
        {"text": "a", "metadata": {"n": 1, "ok": True}},
        {"problem": "The line is not JSON."},
        {"problem": "The line is not a JSON object."},
        {"url": "http://e.org/a"},
    ]


def test_parquet_values_become_json(tmp_path: Path) -> None:
    table = pa.table(
        {
            "file_id": ["file-1", None],
            "text": [None, "b"],
            "at": [datetime(2026, 1, 2, tzinfo=UTC), None],
            "score": [float("nan"), 0.5],
        }
    )
    parquet.write_table(table, tmp_path / "list.parquet")
    content = (tmp_path / "list.parquet").read_bytes()
    assert format_of("whatever", content) == "parquet"
    assert read(content, "parquet") == [
        {"file_id": "file-1", "metadata": {"at": "2026-01-02T00:00:00+00:00"}},
        {"text": "b", "metadata": {"score": 0.5}},
    ]


def test_addresses_a_line() -> None:
    assert read(b"# photos\nhttps://e.org/a.png\r\n\n  http://e.org/b.png\n", "urls") == [
        {"url": "https://e.org/a.png"},
        {"url": "http://e.org/b.png"},
    ]


@pytest.mark.parametrize(
    ("content", "form"),
    [
        (b"a,b\n1,2\n", "csv"),
        (b"", "csv"),
        (b"PAR1 not", "parquet"),
        (b"\xff\xfe\n", "urls"),
        (b"x" * (2 << 20), "jsonl"),
    ],
)
def test_what_is_no_list_is_refused(content: bytes, form: ManifestFormat) -> None:
    with pytest.raises(InvalidRequest):
        read(content, form)


@pytest.mark.parametrize(
    ("name", "head", "expected"),
    [
        ("a.csv", b"url\n", "csv"),
        ("a.JSONL", b"", "jsonl"),
        ("a.parquet", b"nothing", None),
        ("a.txt", b"https://e.org\n", "urls"),
        ("a.txt", b"hello", None),
        ("noname", b'{"url": ""}', "jsonl"),
    ],
)
def test_formats(name: str, head: bytes, expected: str | None) -> None:
    assert format_of(name, head) == expected


def test_a_list_is_bounded_and_not_empty() -> None:
    assert write_list([{"text": "a"}, {"text": "b"}], file := io.BytesIO(), 2) == 2
    assert file.read().count(b"\n") == 2
    with pytest.raises(LimitExceeded, match="at most 1 items"):
        write_list([{"text": "a"}, {"text": "b"}], io.BytesIO(), 1)
    with pytest.raises(InvalidRequest):
        write_list([], io.BytesIO(), 1)


@pytest.mark.parametrize(
    ("entry", "says"),
    [
        ({"path": "/etc/passwd"}, "reads no paths"),
        ({}, "exactly one"),
        ({"url": "http://a", "text": "b"}, "exactly one"),
        ({"url": "file:///etc/passwd"}, "http"),
        ({"text": "a", "id": "../x"}, "id must be"),
        ({"text": "a", "metadata": {str(n): n for n in range(33)}}, "32 metadata"),
        ({"problem": "The line is not JSON."}, "not JSON"),
    ],
)
def test_entries_that_cannot_be_used_say_why(entry: dict[str, Any], says: str) -> None:
    assert says in str(item_of(3, entry).problem)
    assert item_of(3, {"text": "a", "id": "x"}).problem is None


def test_the_same_source_has_the_same_document() -> None:
    for entry in ({"url": "http://e.org/a"}, {"text": "hello"}, {"file_id": "file-1"}):
        assert item_of(1, entry).document == item_of(2, entry).document
    assert item_of(1, {"text": "a"}).document != item_of(1, {"url": "a"}).document
    assert item_of(1, {"text": "a", "id": "mine"}).document == "mine"


def test_a_small_parquet_file_does_not_become_a_large_one() -> None:
    text = pa.DictionaryArray.from_arrays(pa.array([0] * 1024, pa.int32()), pa.array(["a" * (2 << 20)]))
    for column in (
        {"text": text},
        {"text": ["a"] * 1024, "metadata": pa.StructArray.from_arrays([text], ["k"])},
    ):
        file = io.BytesIO()
        parquet.write_table(pa.table(column), file, compression="zstd", store_schema=False)
        assert file.tell() < 100_000
        before = pa.default_memory_pool().max_memory()
        with pytest.raises(InvalidRequest, match="a value of more than"):
            read(file.getvalue(), "parquet")
        assert pa.default_memory_pool().max_memory() < max(before + 1, 256 << 20)


def test_values_of_parquet_that_json_has_not() -> None:
    table = pa.table(
        {
            "text": ["a"],
            "price": [Decimal("1.5")],
            "hour": [time(1)],
            "length": [timedelta(days=1)],
            "metadata": [{"stars": 5}],
        }
    )
    file = io.BytesIO()
    parquet.write_table(table, file)
    expected = {"price": 1.5, "hour": "01:00:00", "length": 86400.0, "stars": 5}
    assert read(file.getvalue(), "parquet") == [{"text": "a", "metadata": expected}]
    write_list(read(file.getvalue(), "parquet"), io.BytesIO(), 1)


@pytest.mark.parametrize("column", [pa.array([[1]]), pa.array([b"a" * 2048], pa.binary(2048))])
def test_columns_that_metadata_cannot_hold_are_refused(column: pa.Array) -> None:
    file = io.BytesIO()
    parquet.write_table(pa.table({"text": ["a"], "k": column}), file)
    with pytest.raises(InvalidRequest, match="'k' holds lists or objects"):
        read(file.getvalue(), "parquet")


def test_a_quotation_mark_too_many_does_not_swallow_the_list() -> None:
    content = b"text,k\n" + b'"a\n","b\n",' * 400_000
    with pytest.raises(InvalidRequest, match="a row of more than"):
        read(content, "csv")
    with pytest.raises(InvalidRequest, match="more than 256 columns"):
        read(b"text" + b",k" * 256 + b"\n", "csv")


@pytest.mark.parametrize(
    "line", [b'{"text": "a \\ud800"}', b'{"text": "a", "k": "\\udc00"}', b'{"text": "a", "\\ud800": 1}']
)
def test_halves_of_characters_are_refused(line: bytes) -> None:
    (entry,) = read(line, "jsonl")
    assert "halves of characters" in entry["problem"]


@pytest.mark.parametrize("depth", [1, 700, 900, 950, 980])
def test_nested_metadata_is_refused_before_it_is_written(depth: int) -> None:
    (entry,) = read(b'{"text": "a", "k": ' + b"[" * depth + b"]" * depth + b"}", "jsonl")
    assert entry.keys() == {"problem"}


def test_a_column_without_a_name_is_left_out() -> None:
    assert read(b",text\n0,a\n1,b,more\n", "csv") == [
        {"text": "a"},
        {"problem": "The line has more columns than the first."},
    ]


def test_a_full_disk_is_the_platforms_trouble() -> None:
    class Full(io.BytesIO):
        def write(self, data: object) -> int:
            raise OSError(28, "No space left on device")

    with pytest.raises(StoreUnavailable):
        write_list([{"text": "a"}], Full(), 5)


async def test_a_job_reads_its_list_piece_by_piece(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listing, "_BYTES_AT_ONCE", 100)
    monkeypatch.setattr(listing, "_MAX_LINE_BYTES", 60)
    file = io.BytesIO()
    texts = [*map(str, range(600)), "long" * 20, "end"]
    assert write_list([{"text": text} for text in texts], file, 1000) == 602
    items = [item async for item in items_of(file, Progress())]
    assert [item.number for item in items] == list(range(602))
    assert items[-1].text == "end"
    assert "longer than 60 bytes" in (items[600].problem or "")
    assert all(item.problem is None for item in items[:600])


def test_files_at_hand_are_held_to_the_same_rules() -> None:
    assert item_of(0, {"filename": "a"}, io.BytesIO).problem is None
    assert "The id must be" in (item_of(0, {"id": "a/b"}, io.BytesIO).problem or "")
    assert "exactly one" in (item_of(0, {"url": "http://e.org/"}, io.BytesIO).problem or "")
    assert "file name" in (item_of(0, {"text": "a", "filename": "a" * 256}).problem or "")
