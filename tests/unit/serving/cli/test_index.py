"""`manymodal index` against a fake platform over real HTTP."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from fake_http_platform import FakeHttpPlatform
from typer.testing import Result

from serving.cli import index_sender
from serving.cli.index_sources import document_id, files_in

Cli = Callable[..., Result]


def test_index_takes_media_and_texts_of_a_folder(cli: Cli, platform: FakeHttpPlatform, folder: Path) -> None:
    for _ in range(2):
        result = cli("index", str(folder), "--collection", "mine")
        assert (result.exit_code, result.stdout) == (0, "3 of 3 files are in the collection 'mine'.\n")
    documents = platform.documents["mine"]
    assert [document["metadata"]["filename"] for document in documents.values()] == [
        "a.png",
        "notes.txt",
        "b.jpg",
    ]
    assert documents[document_id(folder / "notes.txt")]["text"] == "Tea is hot."
    assert documents[document_id(folder / "a.png")]["content"] == b"content of a.png"


def test_index_goes_on_after_a_file_that_fails(
    cli: Cli, platform: FakeHttpPlatform, folder: Path, tmp_path: Path
) -> None:
    platform.refused_names = {"a.png"}
    platform.duplicates = {"b.jpg"}
    report = tmp_path / "report.jsonl"
    result = cli("index", str(folder), str(folder / "missing.png"), "--report", str(report))
    assert result.exit_code == 1
    assert result.stdout == "2 of 4 files are in the collection 'default'. 1 skipped, 2 failed.\n"
    assert f"{folder / 'a.png'}: The file is broken." in result.stderr
    assert "missing.png" in result.stderr
    lines = [json.loads(line) for line in report.read_text().splitlines()]
    assert sorted((Path(line["path"]).name, line["status"]) for line in lines) == [
        ("a.png", "failed"),
        ("b.jpg", "skipped"),
        ("missing.png", "failed"),
    ]


def test_names_of_files_may_hold_any_bytes(cli: Cli, platform: FakeHttpPlatform, tmp_path: Path) -> None:
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.png")).write_bytes(b"picture")
    result = cli("index", str(tmp_path), "--json")
    assert result.exit_code == 0
    assert json.loads(result.stdout.splitlines()[0])["path"] == f"{tmp_path}/caf?.png"
    (document,) = platform.documents["default"].values()
    assert document["metadata"]["filename"] == "caf?.png"
    assert cli("chat", "caf\udce9").exit_code == 2


def test_index_json_prints_a_line_per_file_and_the_statistics(cli: Cli, folder: Path) -> None:
    (folder / "latin.txt").write_bytes(b"caf\xe9")
    result = cli("index", str(folder), "--json")
    *files, last = map(json.loads, result.stdout.splitlines())
    lines = {Path(line["path"]).name: line for line in files}
    assert result.exit_code == 1
    assert lines["latin.txt"]["error"] == "The file is not UTF-8 text."
    assert lines["a.png"]["parts"] == 1
    statistics = last["statistics"]
    assert (statistics["total_processed"], statistics["successful"], statistics["failed"]) == (4, 3, 1)
    assert {"total_duration_ms", "avg_time_per_item_ms", "throughput"} <= set(statistics)


def test_index_resumes_where_it_was(
    cli: Cli, platform: FakeHttpPlatform, folder: Path, tmp_path: Path
) -> None:
    journal = str(tmp_path / "state" / "journal.jsonl")
    platform.refused_names = {"a.png"}
    assert cli("index", str(folder), "--journal", journal).exit_code == 1
    with Path(journal).open("a") as file:
        file.write('["path-cut o')  # a crash
    platform.refused_names = set()
    platform.requests.clear()
    (folder / "notes.txt").write_text("Tea is cold.", "utf-8")
    result = cli("index", str(folder), "--journal", journal)
    assert result.stdout == "3 of 3 files are in the collection 'default'. 1 were sent before.\n"
    (sent,) = platform.sent("batch")
    assert [document["metadata"]["filename"] for document in sent["documents"]] == ["a.png", "notes.txt"]
    platform.requests.clear()
    assert cli("index", str(folder), "--journal", journal).exit_code == 0
    assert platform.requests == []


def test_index_reads_lists(cli: Cli, platform: FakeHttpPlatform, folder: Path) -> None:
    (folder / "photos.csv").write_text("path,id,stars\na.png,cat,5\nbelow/b.jpg,,4\n,x,1\n", "utf-8")
    (folder / "more.jsonl").write_text(
        '{"text": "Tea", "id": "tea"}\n{"url": "http://e.org/c.png"}\n', "utf-8"
    )
    (folder / "urls.txt").write_text("https://e.org/d.png\n", "utf-8")
    names = [str(folder / name) for name in ("photos.csv", "more.jsonl", "urls.txt")]
    result = cli("index", *names, "--min-side", "32", "--ocr", "off", "--concurrency", "2")
    assert result.exit_code == 1
    assert "photos.csv:3: A row needs exactly one of" in result.stderr
    documents = platform.documents["default"]
    assert documents["cat"]["metadata"]["stars"] == "5"
    assert documents["cat"]["content"] == b"content of a.png"
    assert documents["tea"]["text"] == "Tea"
    urls = {document["url"] for document in documents.values() if "url" in document}
    assert urls == {"http://e.org/c.png", "https://e.org/d.png"}
    assert platform.sent("batch")[0]["min_side"] == 32


def test_index_tries_again_what_may_pass(
    cli: Cli, platform: FakeHttpPlatform, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(index_sender, "_MOST_DELAY_SECONDS", 0.01)
    platform.busy_times = 3
    result = cli("index", str(folder))
    assert result.exit_code == 0
    assert len(platform.sent("batch")) == 4


def test_index_says_when_a_folder_holds_nothing(cli: Cli, tmp_path: Path) -> None:
    result = cli("index", str(tmp_path))
    assert result.exit_code == 2
    assert "No media or text files" in result.stderr


def test_a_named_file_is_taken_whatever_it_is(folder: Path) -> None:
    assert list(files_in([folder / "program.py"])) == [folder / "program.py"]
