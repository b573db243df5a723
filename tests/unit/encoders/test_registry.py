"""Models are found by their files; listing them loads no framework."""

from __future__ import annotations

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
    assert [spec.name for spec in registry.specs("chat")] == ["smollm2-135m-instruct"]


def test_unknown_names_list_the_known_ones() -> None:
    with pytest.raises(ModelUnavailable, match=r"no model 'gpt-9'.*all-minilm-l6-v2"):
        registry.find("gpt-9", Path("nowhere"))


def test_the_engines_model_is_not_loaded_here() -> None:
    with pytest.raises(ModelUnavailable, match="chat engine"):
        registry.load("smollm2-135m-instruct", EncoderConfig(Path("nowhere")))


@pytest.mark.parametrize("name", ["", "..", "../x", ".hidden", "a/b"])
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


@pytest.mark.parametrize("name", ["efficientnet-lite2", "whisper-base"])
def test_unprepared_models_say_what_to_do(name: str, tmp_path: Path) -> None:
    with pytest.raises(ModelUnavailable, match=f"manymodal models prepare {name}"):
        registry.load(name, EncoderConfig(tmp_path))


@pytest.mark.parametrize(
    "module",
    [
        "encoders.registry",
        "encoders.prepare",
        "encoders.sandbox",
        "encoders.batching",
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
