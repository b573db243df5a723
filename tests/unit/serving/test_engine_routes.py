"""Of vLLM's own application only what the platform uses can be reached, even from inside."""

from __future__ import annotations

import pytest

from serving.engines.vllm import VllmEngine
from serving.errors import EngineRefused


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v1/chat/completions"),
        ("POST", "/v1/chat/completions/"),
        ("POST", "/v1/chat/completions/render"),
        ("POST", "/v1/completions"),
        ("POST", "/tokenize"),
        ("POST", "/v1/load_lora_adapter"),
        ("POST", "/collective_rpc"),
        ("POST", "/sleep"),
        ("POST", "/metrics"),
        ("GET", "/metrics/../v1/models"),
    ],
)
async def test_other_routes_are_refused_before_vllm_is_asked(method, path):
    engine = object.__new__(VllmEngine)  # nothing of an engine: the answer cannot come from one
    with pytest.raises(EngineRefused):
        await anext(engine.request(method, path, {}, b"{}"))
