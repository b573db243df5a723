"""The platform of a strategy is started with the settings that the benchmark means."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.strategies import _environment, _settings, contenders, model_folder
from deploy.settings import load_settings


@pytest.mark.parametrize("name", sorted(contenders("", "")))
def test_what_is_passed_on_gives_the_same_settings(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    meant = _settings(tmp_path, tmp_path, name)
    for variable, value in _environment(meant).items():
        monkeypatch.setenv(variable, value)
    started = load_settings({"port": meant.port, "data_dir": meant.data_dir})
    assert (started.chat, started.video, started.models_dir) == (meant.chat, meant.video, meant.models_dir)
    assert model_folder(name, tmp_path) == tmp_path / meant.chat.model
