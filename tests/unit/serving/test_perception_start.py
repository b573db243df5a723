"""What keeps the encoders' deployment from starting is said, and leaves nothing running."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from encoders.config import EncoderConfig
from encoders.errors import ModelUnavailable
from serving.deployments.perception import PerceptionDeployment
from storage.config import StorageConfig


def test_models_that_do_not_load_leave_no_decoder_behind(tmp_path: Path) -> None:
    with pytest.raises(ModelUnavailable, match="manymodal models prepare"):
        PerceptionDeployment(EncoderConfig(tmp_path), StorageConfig(tmp_path / "store", tmp_path / "spool"))
    assert not [one for one in threading.enumerate() if one.name.startswith("media-decoder")]


def test_a_moderation_model_that_is_not_prepared_is_told_at_the_start(tmp_path: Path) -> None:
    storage = StorageConfig(tmp_path / "store", tmp_path / "spool")
    with pytest.raises(ModelUnavailable, match="prepare tox-block"):
        PerceptionDeployment(EncoderConfig(tmp_path, moderation_text_model="tox-block"), storage)


def test_weights_that_changed_and_memory_that_lacks_are_found_before_loading(tmp_path: Path) -> None:
    storage = StorageConfig(tmp_path / "store", tmp_path / "spool")
    with pytest.raises(ModelUnavailable, match="'rapidocr' have changed"):
        PerceptionDeployment(EncoderConfig(tmp_path, revisions={"rapidocr": "old"}), storage)
    with pytest.raises(ModelUnavailable, match="may use 1 MiB"):
        PerceptionDeployment(EncoderConfig(tmp_path, max_memory_bytes=1 << 20), storage)
