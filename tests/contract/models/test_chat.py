"""What the files of chat models promise to the engine."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from jinja2.sandbox import ImmutableSandboxedEnvironment
from loaded_models import each

from encoders import registry
from encoders.types import ModelSpec

REPOSITORY = Path(__file__).resolve().parents[3]


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


@pytest.mark.models
@pytest.mark.parametrize("opens", [True, False])
@pytest.mark.parametrize(
    "messages",
    [
        [{"role": "user", "content": "Hi"}],
        [{"role": "system", "content": "S"}, {"role": "user", "content": "Hi"}],
        [{"role": "system", "content": ""}, {"role": "user", "content": "Hi"}],
        [
            {"role": "user", "content": "a"},
            {"role": "assistant", "content": "b"},
            {"role": "system", "content": "c"},
        ],
    ],
    ids=["user", "system", "empty-system", "later-system"],
)
def test_without_tools_the_template_for_tools_is_the_models_own(
    models_dir: Path, messages: list[dict[str, str]], opens: bool
) -> None:
    spec = registry.find("smollm2-135m-instruct", models_dir)
    own = registry.find_directory(spec, models_dir) / "chat_template.jinja"
    ours = REPOSITORY / "deploy" / "profiles" / "templates" / f"{spec.extra['chat_template']}.jinja"
    # As transformers, and with it vLLM, sets it up.
    room = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
    written = [
        room.from_string(file.read_text()).render(messages=messages, add_generation_prompt=opens)
        for file in (own, ours)
    ]
    assert written[0] == written[1]
