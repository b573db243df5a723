"""The gateway, and whoever only names the deployments, starts without any model framework."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

FORBIDDEN = (
    "torch",
    "ctranslate2",
    "transformers",
    "vllm",
    "ray",
    "faster_whisper",
    "onnxruntime",
    "cv2",
    "av",
    "lance",
    "faiss",
    "PIL",
)

SCRIPT = f"""
import pathlib, sys, tempfile
from encoders import registry
from serving.app import create_app
from serving.config import ChatModel, GatewayConfig
from serving.services import Services
from storage.assembly import open_storage
from storage.config import StorageConfig

root = pathlib.Path(tempfile.mkdtemp())
names = ("efficientnet-lite2", "whisper-base", "all-minilm-l6-v2", "rapidocr")
models = (registry.find(name, root) for name in names)
config = GatewayConfig(ChatModel("m", 2048, None), *models, bytes(16))
storage = open_storage(StorageConfig(root / "store", root / "spool"), bytes(16))
create_app(Services(None, None, None), storage, config)
print([name for name in {FORBIDDEN} if name in sys.modules])
"""


REPLICA = f"""
import sys
import deploy.app, serving.app, serving.ray_adapter, serving.routes.chat
import serving.deployments.engine, serving.deployments.perception, serving.deployments.search
names = set({FORBIDDEN}) - {{"ray"}}
print([name for name in names if name in sys.modules])
"""


@pytest.mark.parametrize("script", [SCRIPT, REPLICA], ids=["application", "replica under Ray"])
def test_no_model_framework_is_imported(script: str) -> None:
    root = Path(__file__).resolve().parents[3]
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=root, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[]"
