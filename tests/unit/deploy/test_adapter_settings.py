"""Low-rank adapters: what is found, what is refused, and which flags of vLLM they become."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from pydantic import ValidationError

from deploy.adapter_settings import AdapterSettings
from deploy.settings import load_settings
from encoders.errors import ModelUnavailable
from serving.config import EngineConfig


def adapter(folder: Path, rank: object = 8, weights: str = "adapter_model.safetensors") -> Path:
    folder.mkdir(parents=True)
    (folder / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", "r": rank}))
    (folder / weights).write_bytes(b"")
    return folder


def test_folders_lie_below_the_models_or_anywhere(tmp_path: Path) -> None:
    below, elsewhere = adapter(tmp_path / "models/below"), adapter(tmp_path / "elsewhere")
    settings = AdapterSettings(folders={"legal": Path("below"), "team/medical": elsewhere})
    assert settings.found(tmp_path / "models") == {"legal": below, "team/medical": elsewhere}


@pytest.mark.parametrize(
    ("rank", "weights", "words"),
    [
        (32, "adapter_model.safetensors", "rank 32"),
        ("x", "adapter_model.safetensors", "cannot be read"),
        (8, "adapter_model.bin", "may run code"),
    ],
)
def test_what_cannot_be_served_is_refused(tmp_path: Path, rank: object, weights: str, words: str) -> None:
    adapter(tmp_path / "a", rank, weights)
    with pytest.raises(ModelUnavailable, match=words):
        AdapterSettings(folders={"a": Path("a")}).found(tmp_path)


def test_one_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelUnavailable, match="adapter_config"):
        AdapterSettings(folders={"a": Path("a")}).found(tmp_path)


@pytest.mark.parametrize("name", ["", "a b", "a=b", "-a", "x" * 200])
def test_names_are_those_of_models(name: str) -> None:
    with pytest.raises(ValidationError):
        AdapterSettings(folders={name: Path("a")})


@pytest.mark.parametrize("name", ["default", "smollm2-135m-instruct"])
def test_none_has_a_name_of_the_decoder(name: str) -> None:
    # Whoever asked for the decoder would be answered by the adapter.
    with pytest.raises(ValidationError, match=f"'{name}' is the decoder's own name"):
        load_settings({"chat": {"adapters": {"folders": {name: "a"}}}})


def test_the_engine_is_told() -> None:
    folders = {"a": Path("/m/a"), "b": Path("/m/b")}
    flags = EngineConfig(
        Path("/m"), "m", adapters=folders, adapters_at_once=1, max_adapter_rank=8
    ).arguments()
    wanted = "--enable-lora --max-loras 1 --max-cpu-loras 2 --max-lora-rank 8 --lora-modules a=/m/a b=/m/b"
    assert wanted in " ".join(flags)
    assert "--enable-lora" not in EngineConfig(Path("/m"), "m").arguments()
