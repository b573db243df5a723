"""docs/client.md does what it says."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from executed_pages import Reader, run_page
from fake_platform import build_platform, serving
from fake_services import fake_mp4, fake_png, fake_wav

from serving.config import GatewayConfig, RequestLimits
from serving.ingest.config import IngestConfig

PAGE = Path(__file__).resolve().parents[2] / "docs" / "client.md"


def test_the_page(tmp_path: Path, config: GatewayConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MANYMODAL_URL", raising=False)
    monkeypatch.delenv("MANYMODAL_API_KEY", raising=False)
    quick = IngestConfig(first_delay_seconds=0.001, commit_wait_seconds=0.01, poll_seconds=0.05)
    platform = build_platform(tmp_path, replace(config, limits=RequestLimits(), ingest=quick))
    folder = tmp_path / "reader"
    folder.mkdir()
    for name, content in (
        ("photo.jpg", fake_png({"cat": 0.9})),
        ("clip.mp4", fake_mp4([{"boat": 0.9}, {"cat": 0.8}])),
        ("talk.wav", fake_wav((0.0, 2.0, "good morning"))),
    ):
        (folder / name).write_bytes(content)
    with serving(platform) as url:
        ran = run_page(PAGE, Reader(folder, url))
    assert ran == PAGE.read_text("utf-8").count("```python\n") > 8
