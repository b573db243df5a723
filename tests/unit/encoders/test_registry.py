"""Models are found by their files; listing them loads no framework."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from encoders import registry
from encoders.config import EncoderConfig
from encoders.errors import ModelUnavailable
from encoders.types import ModelSpec
from encoders.weights import content_revision

ROOT = Path(__file__).resolve().parents[3]
HEAVY = frozenset(
    {
        "torch",
        "transformers",
        "vllm",
        "faster_whisper",
        "ctranslate2",
        "onnxruntime",
        "cv2",
        "av",
        "PIL",
        "ray",
    }
    | {"torchvision", "timm", "librosa"}
)


def test_all_models_are_found_and_every_default_names_one() -> None:
    tasks = {spec.name: spec.task for spec in registry.specs()}
    defaults = EncoderConfig(Path("nowhere"))
    assert tasks[defaults.vision_model] == "vision"
    assert tasks[defaults.speech_model] == "speech"
    assert tasks[defaults.text_model] == "text"
    assert tasks[defaults.ocr_model] == "ocr"
    assert tasks["smollm2-135m-instruct"] == "chat"


def test_unknown_names_list_the_known_ones() -> None:
    with pytest.raises(ModelUnavailable, match=r"no model 'gpt-9'.*all-minilm-l6-v2"):
        registry.find("gpt-9", Path("nowhere"))


def test_the_engines_model_is_not_loaded_here() -> None:
    with pytest.raises(ModelUnavailable, match="chat engine"):
        registry.load("smollm2-135m-instruct", EncoderConfig(Path("nowhere")))


@pytest.mark.parametrize("name", ["", "..", "../x", ".hidden", "a/b", "a\0b", "x" * 300])
def test_names_are_no_paths(name: str, tmp_path: Path) -> None:
    with pytest.raises(ModelUnavailable, match="no model"):
        registry.find(name, tmp_path / "models")


def test_folders_of_the_users_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class FakeModelFile:
        def adopt(self, name: str, directory: Path, facts: dict[str, object]) -> ModelSpec | None:
            if facts.get("model_type") != "novel":
                return None
            return ModelSpec(name, "vision", ("image",), 4, "unknown", content_revision(directory), "1")

        def load(self, spec: ModelSpec, config: EncoderConfig) -> ModelSpec:
            return spec

    listed = ModelSpec("listed", "vision", ("image",), 4, "MIT", "r", "1", ("pytest",))
    monkeypatch.setattr(registry, "_files", lambda: {"listed": (listed, FakeModelFile())})
    mine = tmp_path / "mine"
    mine.mkdir()
    for facts in ("{", "[]", '{"model_type": "other"}'):
        (mine / "config.json").write_text(facts)
        with pytest.raises(ModelUnavailable, match="listed"):
            registry.find("mine", tmp_path)
    (mine / "config.json").write_text('{"model_type": "novel"}')
    (mine / "model.safetensors").write_bytes(b"one")
    first = registry.find("mine", tmp_path)
    assert registry.load("mine", EncoderConfig(tmp_path)) == first
    assert registry.resolve(first, tmp_path).ready
    (mine / "model.safetensors").write_bytes(b"other")
    assert registry.find("mine", tmp_path).revision != first.revision
    assert registry.space(first) == "mine"


def test_weights_that_changed_under_a_running_platform_are_refused() -> None:
    spec = ModelSpec("mine", "vision", ("image",), 4, "MIT", "new", "1", ("pytest",))
    registry.check_revisions([spec], {})
    registry.check_revisions([spec], {"mine": "new", "other": "old"})
    with pytest.raises(ModelUnavailable, match="'mine' have changed since the platform started"):
        registry.check_revisions([spec], {"mine": "old"})


@pytest.mark.parametrize(
    "facts",
    [
        {"model_type": "clip", "vision_config": {}, "projection_dim": "wide"},
        {"model_type": "siglip", "vision_config": {}, "text_config": [1]},
        {"model_type": "vit", "hidden_size": {}},
        {"model_type": "embedding_gemma2", "vision_config": {"a": 1}, "text_config": "x"},
    ],
    ids=lambda facts: facts["model_type"],
)
def test_folders_with_senseless_settings(facts: dict[str, object], tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/config.json").write_text(json.dumps(facts))
    with pytest.raises(ModelUnavailable, match="'mine' among the models cannot be used") as caught:
        registry.find("mine", tmp_path)
    assert str(tmp_path) not in caught.value.message


@pytest.mark.parametrize("name", ["efficientnet-lite2", "whisper-base"])
def test_unprepared_models_say_what_to_do(name: str, tmp_path: Path) -> None:
    with pytest.raises(ModelUnavailable, match=f"manymodal models prepare {name}"):
        registry.load(name, EncoderConfig(tmp_path))


@pytest.mark.parametrize(
    "module",
    [
        "encoders.registry",
        "encoders.prepare",
        "encoders.decoding.sandbox",
        "encoders.batching.micro_batcher",
        "serving.deployments.perception",
    ],
)
def test_imports_are_light(module: str) -> None:
    code = (
        f"import sys, {module}\n"
        "from encoders import registry\n"
        "registry.specs()\n"
        f"print([name for name in {sorted(HEAVY)!r} if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.stdout.strip() == "[]", done.stderr
