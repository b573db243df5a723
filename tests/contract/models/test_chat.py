"""What the files of chat models promise to the engine."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from loaded_models import each

from encoders import registry
from encoders.types import ModelSpec


@pytest.mark.models
@each("chat")
def test_chat_weights_are_ready_for_the_engine(spec: ModelSpec, models_dir: Path) -> None:
    from safetensors import safe_open
    from tokenizers import Tokenizer

    folder = registry.find_directory(spec, models_dir)
    with safe_open(folder / "model.safetensors", "np") as weights:
        names = list(weights.keys())
        sizes = [int(np.prod(weights.get_slice(name).get_shape())) for name in names]
        assert {weights.get_slice(name).get_dtype() for name in names} == {"F32"}
    assert sum(sizes) == spec.extra["parameters"]
    config = json.loads((folder / "config.json").read_text())
    assert config["architectures"] == ["LlamaForCausalLM"]
    assert config["max_position_embeddings"] == spec.extra["context_tokens"]
    sampling = json.loads((folder / "generation_config.json").read_text())
    assert (sampling["do_sample"], sampling["temperature"], sampling["top_p"]) == (True, 0.2, 0.9)
    assert "<|im_start|>assistant" in (folder / "chat_template.jinja").read_text()
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    assert tokenizer.encode("<|im_start|>").ids == [config["bos_token_id"]]
    assert tokenizer.encode("   123").tokens == ["ĠĠĠ", "1", "2", "3"]
    assert tokenizer.decode(tokenizer.encode("Hällo 漢字 🙂").ids) == "Hällo 漢字 🙂"
