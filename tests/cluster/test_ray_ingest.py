"""Bulk ingest by Ray Data on a real local Ray, with real models (half a minute)."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from deploy.settings import load_settings
from search.engine import SearchEngine
from search.types import Query


def ingested(*arguments: str | Path) -> dict[str, Any]:
    """The statistics that the command prints."""
    command = [Path(sys.executable).with_name("manymodal"), "ingest-cluster", "--json", "--ocr", "off"]
    ended = subprocess.run([*command, *arguments], capture_output=True, text=True, timeout=150, check=False)
    assert ended.stdout, ended.stderr[-3000:]
    statistics: dict[str, Any] = json.loads(ended.stdout.splitlines()[-1])
    assert ended.returncode == bool(statistics["failed"])
    return statistics


@pytest.mark.cluster
@pytest.mark.timeout(300)
def test_lists_become_searchable_and_again_is_skipped(
    models_dir: Path, shared_data: Path, tmp_path: Path
) -> None:
    photos = sorted((shared_data / "photos/coco/images").glob("*.jpg"))[:6]
    listed = tmp_path / "photos.csv"
    lines = [f"{photo},{photo.stem},5" for photo in photos]
    (tmp_path / "broken.jpg").write_bytes(photos[0].read_bytes()[:300])
    listed.write_text("\n".join(["path,id,stars", *lines, "broken.jpg,broken,1", ",nothing,1"]) + "\n")
    (tmp_path / "notes.txt").write_text("Tea is hot.")
    settings = load_settings({"data_dir": tmp_path / "data", "models_dir": models_dir})
    report = tmp_path / "report.jsonl"
    wanted = (listed, tmp_path / "notes.txt", "--collection", "mine", "--report", report)
    folders = ("--data-dir", settings.data_dir, "--models-dir", models_dir)
    statistics = ingested(*wanted, *folders)
    assert (statistics["successful"], statistics["failed"], statistics["total_processed"]) == (7, 2, 9)
    lines = [json.loads(line) for line in report.read_text().splitlines()]
    assert sorted((line["id"], line["code"]) for line in lines) == [
        ("broken", "corrupt_media"),
        ("unusable", "invalid_entry"),
    ]
    engine = SearchEngine(settings.search_config())
    (stored,) = engine.documents("default", "mine", (photos[0].stem,))
    assert stored.rows[0].metadata["stars"] == "5"
    hits = engine.search("default", "mine", Query(stored.rows[0].vector, top_k=3)).hits
    assert hits[0].document_id == photos[0].stem
    again = ingested(*wanted, *folders)
    assert (again["successful"], again["skipped"]) == (0, 7)
