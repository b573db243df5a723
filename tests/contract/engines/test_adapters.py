"""Low-rank adapters on real vLLM: each answers as the decoder with its weights added would, and in turns."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tiny_blip2 import tiny_blip2
from vllm_engines import ask, running_engine

from serving.engines.vllm import VllmEngine

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(600)]

NAMES = ("first", "second")
RANK = 4


@pytest.fixture(scope="module")
def decoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_blip2(tmp_path_factory.mktemp("models") / "blip2", "llama") / "decoder"


@pytest.fixture(scope="module")
def adapters(decoder: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Two adapters of the query projections, in PEFT's form."""
    import torch
    from safetensors.torch import save_file
    from transformers import AutoModelForCausalLM

    whole = AutoModelForCausalLM.from_pretrained(decoder, dtype=torch.float32)
    folders = {}
    for seed, name in enumerate(NAMES):
        torch.manual_seed(seed)
        weights = {}
        for place, module in whole.named_modules():
            if place.endswith("q_proj"):
                rows, columns = module.weight.shape
                prefix = f"base_model.model.{place}"
                weights[f"{prefix}.lora_A.weight"] = torch.randn(RANK, columns) * 0.5
                weights[f"{prefix}.lora_B.weight"] = torch.randn(rows, RANK) * 0.5
        folder = tmp_path_factory.mktemp(name)
        save_file(weights, folder / "adapter_model.safetensors")
        facts = {
            "peft_type": "LORA",
            "r": RANK,
            "lora_alpha": RANK,
            "target_modules": ["q_proj"],
            "bias": "none",
        }
        (folder / "adapter_config.json").write_text(json.dumps(facts))
        folders[name] = folder
    return folders


@pytest.fixture(scope="module")
def engine(decoder: Path, adapters: dict[str, Path]) -> Iterator[VllmEngine]:
    with running_engine(decoder, adapters=adapters, adapters_at_once=1, max_adapter_rank=8) as made:
        yield made


def merged(decoder: Path, adapter: Path | None, prompt: list[int]) -> list[int]:
    """Greedy tokens of transformers with the adapter's weights added to the decoder's."""
    import torch
    from safetensors.torch import load_file
    from transformers import AutoModelForCausalLM

    whole: Any = AutoModelForCausalLM.from_pretrained(decoder, dtype=torch.float32).eval()
    if adapter is not None:
        weights = load_file(adapter / "adapter_model.safetensors")
        with torch.no_grad():
            for place, module in whole.named_modules():
                if place.endswith("q_proj"):
                    prefix = f"base_model.model.{place}"
                    module.weight += weights[f"{prefix}.lora_B.weight"] @ weights[f"{prefix}.lora_A.weight"]
    asked = torch.tensor([prompt])
    tokens = whole.generate(asked, attention_mask=torch.ones_like(asked), max_new_tokens=8, do_sample=False)
    return [int(token) for token in tokens[0, len(prompt) :]]


async def test_each_answers_with_its_own_weights_also_when_they_take_turns(
    engine: VllmEngine, decoder: Path, adapters: dict[str, Path]
) -> None:
    models = ["m", *NAMES, "m", *NAMES[::-1]]
    answers = await asyncio.gather(
        *(ask(engine, "a photo of", model=one, max_completion_tokens=8, ignore_eos=True) for one in models)
    )
    assert [one.status for one in answers] == [200] * len(models)
    assert [one.body["model"] for one in answers] == models
    told = {model: answer.tokens for model, answer in zip(models, answers, strict=True)}
    assert all(told[model] == answer.tokens for model, answer in zip(models, answers, strict=True))
    assert len({tuple(tokens) for tokens in told.values()}) == 3
    prompt = answers[0].body["prompt_token_ids"]
    for model, adapter in (("m", None), *adapters.items()):
        assert told[model] == merged(decoder, adapter, prompt)
