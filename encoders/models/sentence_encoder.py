"""Sentence encoders from the hub or a folder: BERT-like ones by their mean or first token, decoders by their last.

Any folder in the layout of sentence-transformers is taken whose network transformers knows by itself; the models
listed here differ only in what their folder does not say (prompts of E5, Matryoshka lengths). They are loaded by
torch: bfloat16 and scaled-dot-product attention on a GPU, float32 on a CPU.

Prompts: ``instruction`` may name one of a model's prompts. Texts without an instruction get the model's default
prompt, if it has one, so that texts and queries that are encoded alike can be compared.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from encoders.checkpoint import UNPINNED, loaded_bytes, own_loaded_bytes, read_facts
from encoders.config import EncoderConfig
from encoders.errors import ModelUnavailable
from encoders.text.sentence_layout import SentenceLayout, read_layout
from encoders.types import ModelSpec
from encoders.weights import content_revision, find_directory

__all__ = ["SPECS", "adopt", "load"]

_HUB_PATTERNS = (
    "config.json",
    "modules.json",
    "sentence_bert_config.json",
    "config_sentence_transformers.json",
    "1_Pooling/config.json",
    "model*.safetensors",
    "model.safetensors.index.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
)

_E5 = {"query": "query: ", "passage": "passage: "}
_BGE = {"query": "Represent this sentence for searching relevant passages: "}
_QWEN3 = {
    "query": "Instruct: Given a web search query, retrieve relevant passages that answer the query\nQuery:"
}
_NOMIC = {
    "query": "search_query: ",
    "document": "search_document: ",
    "classification": "classification: ",
    "clustering": "clustering: ",
}


def _listed(
    hub_id: str,
    licence: str,
    dimensions: int,
    max_tokens: int,
    pooling: str,
    parameters: int,
    prompts: Mapping[str, str] | None = None,
    **facts: Any,
) -> ModelSpec:
    name = hub_id.rpartition("/")[2].lower()
    extra = {
        "files": ("config.json", "modules.json", "tokenizer.json"),
        "hub_patterns": _HUB_PATTERNS,
        "space": name,
        "max_tokens": max_tokens,
        "long_text": "cut",
        "pooling": pooling,
        "prompts": dict(prompts or {}),
        **facts,
    }
    return ModelSpec(
        name=name,
        task="text",
        modalities=("text",),
        dimensions=dimensions,
        licence=licence,
        revision=UNPINNED,
        preprocessing=f"{pooling}-{max_tokens}-1",
        hub_id=hub_id,
        memory_bytes=loaded_bytes(parameters),
        extra=extra,
    )


SPECS = (
    _listed("BAAI/bge-small-en-v1.5", "MIT", 384, 512, "cls", 33_400_000, _BGE),
    _listed("BAAI/bge-base-en-v1.5", "MIT", 768, 512, "cls", 109_500_000, _BGE),
    # Its authors ask for "query: " on both sides where the two are alike.
    _listed("intfloat/e5-small-v2", "MIT", 384, 512, "mean", 33_400_000, _E5, default_prompt="query"),
    _listed(
        "intfloat/multilingual-e5-small", "MIT", 384, 512, "mean", 117_700_000, _E5, default_prompt="query"
    ),
    _listed("thenlper/gte-base", "MIT", 768, 512, "mean", 109_500_000),
    _listed("sentence-transformers/all-mpnet-base-v2", "Apache-2.0", 768, 384, "mean", 109_500_000),
    _listed(
        "nomic-ai/modernbert-embed-base", "Apache-2.0", 768, 8192, "mean", 149_000_000, _NOMIC,
        default_prompt="document", smallest_dimensions=256,
    ),
    _listed(
        "Qwen/Qwen3-Embedding-0.6B", "Apache-2.0", 1024, 32768, "lasttoken", 595_800_000, _QWEN3,
        smallest_dimensions=32,
    ),
)  # fmt: skip


def load(spec: ModelSpec, config: EncoderConfig) -> Any:
    """Load and warm up. Raises ``ModelUnavailable`` when the weights are not found or of another kind."""
    from encoders.text.sentence_model import SentenceEncoder, SentenceRules
    from encoders.torch_device import placement

    directory = find_directory(spec, config.models_dir)
    layout = read_layout(directory)
    if layout is None:
        raise ModelUnavailable(f"The sentence encoder '{spec.name}' has no modules.json; fetch it again.")
    if layout.pooling != spec.extra["pooling"]:
        raise ModelUnavailable(
            f"The sentence encoder '{spec.name}' is pooled by '{layout.pooling}' in its folder and by "
            f"'{spec.extra['pooling']}' in its description; fetch it again."
        )
    rules = SentenceRules(
        dimensions=spec.dimensions or 0,
        pooling=layout.pooling,
        max_tokens=min(spec.extra["max_tokens"], _longest(layout, directory)),
        lower_case=layout.lower_case,
        prompts={**layout.prompts, **spec.extra["prompts"]},
        default_prompt=spec.extra.get("default_prompt", layout.default_prompt),
        smallest_dimensions=spec.extra.get("smallest_dimensions"),
        dense=layout.dense,
    )
    model = SentenceEncoder(directory, rules, placement(config.device, config.compiled, config.threads))
    model.embed(("warm up",))
    return model


def adopt(name: str, directory: Path, facts: dict[str, Any]) -> ModelSpec | None:
    """The spec for a user's folder in the layout of sentence-transformers; ``None`` for other folders.

    Raises ``ModelUnavailable`` when it is such a folder with parts that cannot be followed.
    """
    layout = read_layout(directory)
    if layout is None:
        return None
    if facts.get("is_encoder_decoder") or "hidden_size" not in facts:
        raise ModelUnavailable(
            f"The sentence encoder '{name}' is not a text network of one stack (it has an encoder and a decoder, "
            "or no hidden size), which is not supported."
        )
    max_tokens = _longest(layout, directory)
    matryoshka = facts.get("matryoshka_dimensions") or ([1] if facts.get("is_matryoshka") else None)
    extra: dict[str, Any] = {
        "files": ("config.json", "modules.json", "tokenizer.json"),
        "space": name,
        "max_tokens": max_tokens,
        "long_text": "cut",
        "pooling": layout.pooling,
        "prompts": dict(layout.prompts),
    }
    if layout.default_prompt is not None:
        extra["default_prompt"] = layout.default_prompt
    if matryoshka is not None:
        extra["smallest_dimensions"] = int(min(matryoshka))
    return ModelSpec(
        name=name,
        task="text",
        modalities=("text",),
        dimensions=layout.dense[-1].dimensions if layout.dense else int(facts["hidden_size"]),
        licence="its owner's",
        revision=content_revision(directory),
        preprocessing=f"{layout.pooling}-{max_tokens}-1",
        memory_bytes=own_loaded_bytes(directory),
        extra=extra,
    )


def _longest(layout: SentenceLayout, directory: Path) -> int:
    """Tokens read of a text: what the folder says, else what tokeniser and network can."""
    if layout.max_tokens is not None:
        return layout.max_tokens
    import json

    try:
        tokenizer = json.loads((directory / "tokenizer_config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        tokenizer = {}
    # A tokeniser that knows no limit says 10**30.
    limits = (tokenizer.get("model_max_length"), read_facts(directory).get("max_position_embeddings"))
    return int(min(limit for limit in (*limits, 1 << 20) if limit))
