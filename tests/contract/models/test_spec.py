"""What every model file promises of itself."""

from __future__ import annotations

import json
import pickle
import re
from pathlib import Path

import psutil
import pytest
from loaded_models import loaded, packaged

from encoders import registry
from encoders.types import ModelSpec

SPECS = registry.specs()
PACKAGED = packaged()


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.name)
def test_spec_is_complete(spec: ModelSpec) -> None:
    assert re.fullmatch(r"[a-z0-9][a-z0-9.-]*", spec.name)
    assert spec.task in {"vision", "speech", "text", "ocr", "moderation", "voice", "chat"}
    assert set(spec.modalities) <= {"text", "image", "audio", "video"}
    assert spec.licence
    assert spec.revision
    assert spec.preprocessing
    assert spec.packages or spec.hub_id
    assert spec.packages == () or spec.extra["files"]
    assert spec.memory_bytes > 0 or spec.task == "chat"  # the engine bounds itself
    assert spec.dimensions or spec.task not in {"vision", "text"}
    json.dumps(spec.extra)  # shown by `manymodal models`
    assert pickle.loads(pickle.dumps(spec)) == spec  # noqa: S301 - our own bytes


@pytest.mark.models
@pytest.mark.parametrize("spec", PACKAGED, ids=lambda spec: spec.name)
def test_weights_resolve(spec: ModelSpec, models_dir: Path) -> None:
    found = registry.resolve(spec, models_dir)
    assert found.ready, found.advice
    folder = registry.find_directory(spec, models_dir)
    assert not [path for path in folder.rglob("*") if path.suffix in {".pth", ".pt", ".pkl", ".pickle"}]


@pytest.mark.models
@pytest.mark.parametrize(
    "spec", [spec for spec in PACKAGED if spec.task != "chat"], ids=lambda spec: spec.name
)
def test_loading_takes_no_more_than_is_declared(spec: ModelSpec, models_dir: Path) -> None:
    """Growth of this process by loading and warming up; what others loaded before only makes it smaller."""
    before = psutil.Process().memory_info().rss
    loaded(spec.name, models_dir)
    assert psutil.Process().memory_info().rss - before <= spec.memory_bytes
