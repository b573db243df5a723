"""Sentence encoders with random weights, a few kilobytes each, in the folder layout of sentence-transformers."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

__all__ = [
    "CORPUS",
    "tiny_bert",
    "tiny_bert_weights",
    "tiny_decoder",
    "word_tokenizer",
    "write_layout",
]

CORPUS = (
    "a photo of a cat on a red sofa",
    "Two dogs run along the beach; one of them is wet.",
    "the quick brown fox jumps over the lazy dog",
    "query: where do people wait in front of an old station?",
    "Instruct: find the passage",
)

_SIZE = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}


def word_tokenizer(file: Path, words: Sequence[str]) -> Path:
    """A tokenizer of whole words, numbered from 4 on; 2 and 3 stand around every text."""
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import Whitespace
    from tokenizers.processors import TemplateProcessing

    special = ("[PAD]", "[UNK]", "[CLS]", "[SEP]")
    numbers = {word: number for number, word in enumerate((*special, *words))}
    tokenizer = Tokenizer(WordLevel(numbers, "[UNK]"))
    tokenizer.pre_tokenizer = Whitespace()
    tokenizer.post_processor = TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    tokenizer.add_special_tokens(list(special))
    tokenizer.save(str(file))
    return file


def tiny_bert(directory: Path, pooling: str = "mean", **layout: Any) -> Path:
    """A BERT of two layers with a WordPiece tokeniser; at most 40 tokens."""
    from transformers import BertConfig, BertModel

    words = _bert_tokenizer(directory)
    config = BertConfig(vocab_size=words, max_position_embeddings=40, **_SIZE)
    _save(BertModel(config), directory)
    write_layout(directory, pooling, **{"max_tokens": 40, **layout})
    return directory


def tiny_decoder(
    directory: Path, pooling: str = "lasttoken", padding_side: str = "left", **layout: Any
) -> Path:
    """A Qwen3 of two layers with a byte-level BPE tokeniser that ends every text with ``<|end|>``."""
    from transformers import Qwen3Config, Qwen3Model

    words = _decoder_tokenizer(directory, padding_side)
    config = Qwen3Config(
        vocab_size=words,
        max_position_embeddings=64,
        num_key_value_heads=2,
        head_dim=8,
        pad_token_id=0,
        **_SIZE,
    )
    _save(Qwen3Model(config), directory)
    write_layout(directory, pooling, **{"max_tokens": 64, **layout})
    return directory


def write_layout(
    directory: Path,
    pooling: str,
    *,
    max_tokens: int | None = None,
    prompts: Mapping[str, str] | None = None,
    default_prompt: str | None = None,
    dense: int | None = None,
    old_flags: bool = True,
) -> None:
    """The files beside the network: modules, pooling (by flags, or by name as of version 5), prompts, lengths."""
    modules = ["Transformer", "Pooling", *(["Dense"] if dense else []), "Normalize"]
    folders = ["", *(f"{index}_{kind}" for index, kind in enumerate(modules) if index)]
    _write(
        directory / "modules.json",
        [
            {"idx": index, "name": str(index), "path": folder, "type": f"sentence_transformers.models.{kind}"}
            for index, (kind, folder) in enumerate(zip(modules, folders, strict=True))
        ],
    )
    flags = {"mean": "mean_tokens", "cls": "cls_token", "lasttoken": "lasttoken", "max": "max_tokens"}
    chosen = {f"pooling_mode_{flag}": mode == pooling for mode, flag in flags.items()}
    facts = chosen if old_flags else {"embedding_dimension": 32, "pooling_mode": pooling}
    _write(directory / "1_Pooling" / "config.json", facts)
    _write(directory / "sentence_bert_config.json", {"max_seq_length": max_tokens, "do_lower_case": False})
    general = {"prompts": dict(prompts or {}), "default_prompt_name": default_prompt}
    _write(directory / "config_sentence_transformers.json", general)
    if dense:
        from safetensors.numpy import save_file

        dice = np.random.default_rng(3)
        tensors = {
            "linear.weight": dice.normal(0, 0.3, (dense, 32)).astype(np.float32),
            "linear.bias": dice.normal(0, 0.3, dense).astype(np.float32),
        }
        folder = directory / folders[2]
        activation = "torch.nn.modules.activation.Tanh"
        _write(
            folder / "config.json",
            {"in_features": 32, "out_features": dense, "activation_function": activation},
        )
        save_file(tensors, folder / "model.safetensors")


def tiny_bert_weights(layers: int = 2, width: int = 32, words: int = 50, places: int = 40) -> dict[str, Any]:
    """Weights of a BERT under transformers' names, for the graph alone."""
    from transformers import BertConfig, BertModel

    config = BertConfig(**{**_SIZE, "num_hidden_layers": layers, "hidden_size": width}, vocab_size=words)
    config.max_position_embeddings = places
    model = _random(BertModel(config, add_pooling_layer=False))
    return {name: tensor.numpy() for name, tensor in model.state_dict().items()}


def _write(path: Path, facts: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(facts), encoding="utf-8")


def _random(model: Any) -> Any:
    import torch

    # As initialised, layers this small give almost the same answer to everything.
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            spread = 0.1 if parameter.ndim == 1 else 0.3
            start = 1.0 if "norm" in name.lower() and name.endswith("weight") else 0.0
            parameter.copy_(start + torch.randn(parameter.shape, generator=generator) * spread)
    return model.eval()


def _save(model: Any, directory: Path) -> None:
    _random(model).save_pretrained(directory)


def _bert_tokenizer(directory: Path) -> int:
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer.from_str(_trained_wordpiece())
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]",
        model_max_length=40,
    ).save_pretrained(directory)  # fmt: skip
    return int(tokenizer.get_vocab_size())


def _decoder_tokenizer(directory: Path, padding_side: str) -> int:
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer.from_str(_trained_bytes())
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<|end|>", eos_token="<|end|>", padding_side=padding_side,
        model_max_length=64,
    ).save_pretrained(directory)  # fmt: skip
    return int(tokenizer.get_vocab_size())


# Training breaks ties by chance, and two folders of one test must have the same tokeniser.
@cache
def _trained_wordpiece() -> str:
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers

    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    tokenizer.train_from_iterator(CORPUS, trainers.WordPieceTrainer(vocab_size=120, special_tokens=special))
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return str(tokenizer.to_str())


@cache
def _trained_bytes() -> str:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=320, special_tokens=["<|end|>"], initial_alphabet=pre_tokenizers.ByteLevel.alphabet()
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="$A <|end|>", special_tokens=[("<|end|>", 0)]
    )
    return str(tokenizer.to_str())
