"""``manymodal train-bridge`` from the command line, on models and pictures of a few kilobytes."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from tiny_blip2 import tiny_blip2
from tiny_models import tiny_vit
from typer.testing import CliRunner, Result

from deploy.cli import app
from encoders.errors import EncoderError
from fusion.bridge_folder import MANIFEST_NAME, read_manifest
from fusion.errors import FusionError, TrainingRefused
from fusion.training.trainer import BridgeTrainer

pytestmark = pytest.mark.timeout(600)

Train = Callable[..., Result]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    tiny_vit(folder / "tiny-vit")
    tiny_blip2(folder / "tiny-blip2", "llama")
    return folder


@pytest.fixture
def train(models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Train:
    lines = []
    for index in range(6):
        Image.new("RGB", (60, 40), (40 * index, 0, 0)).save(tmp_path / f"{index}.png")
        lines.append(json.dumps({"image": f"{index}.png", "caption": f"Red number {index}."}))
    (tmp_path / "pairs.jsonl").write_text("\n".join(lines))
    monkeypatch.setenv("COLUMNS", "300")

    def run(*more: str, **replaced: str) -> Result:
        options = {
            "vision": "tiny-vit", "decoder": "tiny-blip2", "name": "learned", "steps": "4", "batch-size": "2",
            "queries": "4", "layers": "1", "width": "16", "heads": "2", "held-out": "0.4", "device": "cpu",
            "checkpoint-every": "2", "models-dir": str(models), "data-dir": str(tmp_path / "data"),
        }  # fmt: skip
        options |= {name.replace("_", "-"): value for name, value in replaced.items()}
        given = [word for name, value in options.items() for word in (f"--{name}", value)]
        return CliRunner().invoke(app, ["train-bridge", str(tmp_path / "pairs.jsonl"), *given, *more])

    return run


def refusal(result: Result) -> str:
    assert isinstance(result.exception, FusionError), result.output
    return result.exception.message


def test_a_bridge_lies_among_the_models_and_says_what_it_fits(
    train: Train, models: Path, tmp_path: Path
) -> None:
    result = train(name="first")
    assert result.exit_code == 0, result.output
    assert "4 steps over 4 pictures, 2 held out" in result.output
    manifest = read_manifest(models / "first")
    assert (manifest.decoder, manifest.decoder_width, manifest.queries) == ("tiny-blip2", 128, 4)
    assert manifest.branches["vision"].model == "tiny-vit"
    assert manifest.branches["vision"].width == 32
    assert (tmp_path / "data" / "training" / "first" / "losses.svg").is_file()


def test_the_tower_of_a_blip2_checkpoint_may_be_the_vision_model(train: Train, models: Path) -> None:
    result = train(vision="tiny-blip2", name="second")
    assert result.exit_code == 0, result.output
    assert read_manifest(models / "second").branches["vision"].width == 64


def test_sigterm_saves_and_the_same_command_goes_on_to_the_same_bridge(
    train: Train, models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert train(name="whole").exit_code == 0
    one_step = BridgeTrainer._one_step

    def interrupted(self: BridgeTrainer) -> Any:
        if self.step == 2:
            os.kill(os.getpid(), signal.SIGTERM)
        return one_step(self)

    with monkeypatch.context() as patch:
        patch.setattr(BridgeTrainer, "_one_step", interrupted)
        result = train(name="parts")
    assert result.exit_code == 0, result.output
    assert "Stopped after step 3; the same command goes on." in result.output
    assert not (models / "parts").exists()
    result = train(name="parts")
    assert "Going on after step 3." in result.output
    assert read_manifest(models / "parts").weights_sha256 == read_manifest(models / "whole").weights_sha256


def test_a_signal_while_pictures_are_encoded_stops_too(
    train: Train, models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from fusion.training import run

    encode_pairs = run.encode_pairs

    async def interrupted(*given: Any) -> Any:
        os.kill(os.getpid(), signal.SIGTERM)
        return await encode_pairs(*given)

    with monkeypatch.context() as patch:
        patch.setattr(run, "encode_pairs", interrupted)
        result = train(name="early")
    assert result.exit_code == 0, result.output
    assert "Stopped while pictures were encoded; the same command goes on" in result.output
    assert not (models / "early").exists()
    assert "4 steps over 4 pictures" in train(name="early").output


def test_a_run_killed_while_it_wrote_the_bridge_writes_it_again(train: Train, models: Path) -> None:
    assert train(name="killed").exit_code == 0
    (models / "killed" / MANIFEST_NAME).unlink()
    (models / "killed" / ".bridge.x").mkdir()
    result = train(name="killed")
    assert result.exit_code == 0, result.output
    assert "Going on after step 4." in result.output
    assert read_manifest(models / "killed").decoder == "tiny-blip2"


def test_a_restart_that_is_refused_costs_nothing(train: Train, tmp_path: Path) -> None:
    assert train(name="kept").exit_code == 0
    assert isinstance(train("--restart", name="kept", decoder="no-such-model").exception, EncoderError)
    assert (tmp_path / "data" / "training" / "kept" / "losses.jsonl").read_text()
    assert "Going on after step 4." in train(name="kept").output


def test_a_disk_that_fails_is_told_in_a_sentence(train: Train, monkeypatch: pytest.MonkeyPatch) -> None:
    from fusion.training import run

    def full(*_given: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(run, "write_bridge", full)
    message = refusal(train(name="full"))
    assert "No space left on device" in message
    assert "the same command goes on" in message


def test_a_setting_that_is_wrong_is_named(train: Train, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MANYMODAL_PORT", "many")
    result = train(name="fifth")
    assert (result.exit_code, type(result.exception)) == (2, SystemExit)
    assert "Setting port" in result.output


def test_a_run_goes_on_only_with_the_settings_it_was_begun_with(train: Train) -> None:
    assert train(name="third").exit_code == 0
    message = refusal(train(name="third", steps="5", decoder="tiny-blip2", learning_rate="0.1"))
    assert "begun with another learning_rate, steps" in message
    result = train("--restart", name="third", steps="5")
    assert result.exit_code == 0, result.output
    assert "Going on" not in result.output


def test_what_cannot_be_trained_is_refused_in_a_sentence(train: Train) -> None:
    assert "There is a model 'tiny-vit' that is no bridge" in refusal(train(name="tiny-vit"))
    assert "is no name for a bridge" in refusal(train(name="../up"))
    assert "is no name for a bridge" in refusal(train(name=""))
    result = train(name="fourth", vision="smollm2-135m-instruct")
    assert isinstance(result.exception, TrainingRefused)
    assert "is for chat" in result.exception.message


def test_settings_that_make_no_sense_are_refused_before_anything_is_loaded(train: Train) -> None:
    result = train(width="15")
    assert result.exit_code == 2
    assert "must be a multiple of the 2 heads" in result.output
    assert train(device="tpu").exit_code == 2
