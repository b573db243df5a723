"""Models are found by their files; listing them loads no framework."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from encoders import registry
from encoders.config import EncoderConfig
from encoders.errors import ModelUnavailable

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
    assert "chat" in tasks.values()
    assert [spec.name for spec in registry.specs("chat")] == ["smollm2-135m-instruct"]


def test_unknown_names_list_the_known_ones() -> None:
    with pytest.raises(ModelUnavailable, match=r"no model 'gpt-9'.*all-minilm-l6-v2"):
        registry.model_file("gpt-9")


def test_the_engines_model_is_not_loaded_here() -> None:
    with pytest.raises(ModelUnavailable, match="chat engine"):
        registry.load("smollm2-135m-instruct", EncoderConfig(Path("nowhere")))


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
