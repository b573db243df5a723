"""OpenAI's Node client against a live platform: one script, whose every answer is looked at here."""

from __future__ import annotations

import base64
import importlib.util
import json
import os
import subprocess
from pathlib import Path

import pytest
from fake_services import fake_wav

_NODE = Path(__file__).resolve().parents[1] / "node"


def _installer():
    spec = importlib.util.spec_from_file_location("node_client_install", _NODE / "install.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


_CLIENT = _installer().client_folder()  # before the tests' home replaces the user's


def test_the_node_client(live, platform):
    node = _installer().node_program()
    if node is None or not _CLIENT.is_dir():
        pytest.skip("OpenAI's Node client is not installed: `make node-client` tells why")
    done = subprocess.run(
        [node, _NODE / "client.mjs", f"{live}/v1", _CLIENT],
        input=base64.b64encode(fake_wav((0.0, 2.0, "good morning"))).decode(),
        env={"PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout)
    assert "smollm2-135m-instruct" in seen["models"]
    assert seen["model"] == "model"
    assert seen["chat"] == {"text": "A cat sits.", "tokens": 203}
    assert seen["streamed"]["text"] == "A cat sits."
    assert seen["streamed"]["usage"]["prompt_tokens_details"]["cached_tokens"] == 0
    assert seen["call"] == {"reason": "tool_calls", "name": "weather", "arguments": '{"city": "Paris"}'}
    assert seen["functionCall"] == {"name": "weather", "arguments": '{"city": "Paris"}'}
    assert seen["dimensions"] == [384, 384]
    assert seen["file"] == {"purpose": "user_data", "bytes": True}
    assert any(seen["listed"])
    assert seen["deleted"] is True
    assert seen["transcript"]["text"] == "good morning"
    assert seen["transcript"]["segments"][0]["end"] == 2.0
    assert seen["moderation"]["categories"] == 13
    assert seen["response"] == {"text": "A cat sits.", "status": "completed"}
    assert seen["again"] is True
    assert seen["events"][0] == "response.created"
    assert seen["events"][-1] == "response.completed"
    assert seen["errors"] == {
        "missingModel": {
            "kind": "NotFoundError",
            "status": 404,
            "code": "model_not_found",
            "request": "string",
        },
        "badRequest": {
            "kind": "BadRequestError",
            "status": 400,
            "code": "invalid_value",
            "request": "string",
        },
        "missingFile": {
            "kind": "NotFoundError",
            "status": 404,
            "code": "media_not_found",
            "request": "string",
        },
    }
