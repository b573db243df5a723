"""BLIP-2 checkpoints with random weights, about three megabytes each, written as transformers writes real ones.

ViT, Q-Former and decoder (OPT, or a Llama in its place) are the real architectures, only small; tokenizer, picture
processor and chat template lie beside them, so transformers and vLLM both load the folder with nothing downloaded.
Weights are wide enough that greedy answers differ from picture to picture.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from encoders.models.blip2 import finish

__all__ = [
    "CHAT_TEMPLATE",
    "IMAGE_SIDE",
    "IMAGE_TOKEN",
    "QUERIES",
    "WIDTH",
    "DecoderKind",
    "blip2_tokenizer",
    "tiny_blip2",
]

DecoderKind = Literal["opt", "llama"]

QUERIES = 8
"""Soft tokens of a picture."""
WIDTH = 128
"""Hidden size of the decoder."""
IMAGE_SIDE = 56
IMAGE_TOKEN = "<image>"
CHAT_TEMPLATE = "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}assistant:"

_SENTENCES = (
    "What is in the picture? Answer the question.",
    "user assistant system describe this photo in one sentence",
    "How many people are in the video, and what do they say?",
)
_CONTEXT_TOKENS = 2048
_SPREAD = 0.2


def blip2_tokenizer() -> Any:
    """A byte-level BPE trained on three sentences, with ``<image>`` as a token of its own and a chat template."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    pieces = Tokenizer(models.BPE())
    pieces.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    pieces.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        special_tokens=["<pad>", "<s>", "</s>"],
        show_progress=False,
    )
    pieces.train_from_iterator(_SENTENCES * 4, trainer)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=pieces, pad_token="<pad>", bos_token="<s>", eos_token="</s>"
    )
    tokenizer.chat_template = CHAT_TEMPLATE
    tokenizer.add_special_tokens({"additional_special_tokens": [IMAGE_TOKEN]})
    return tokenizer


def tiny_blip2(directory: Path, decoder: DecoderKind, seed: int = 0) -> Path:
    """A BLIP-2 checkpoint in ``directory``, with its decoder split off into ``directory/decoder`` as the platform
    does it.

    The picture processor is transformers' own for BLIP, at 56 pixels; a picture becomes 16 patches, a class token,
    and eight soft tokens.
    """
    import torch
    from transformers import (
        Blip2Config,
        Blip2ForConditionalGeneration,
        Blip2Processor,
        Blip2QFormerConfig,
        Blip2VisionConfig,
    )
    from transformers.models.blip.image_processing_pil_blip import BlipImageProcessorPil

    directory.mkdir(parents=True, exist_ok=True)
    tokenizer = blip2_tokenizer()
    vocabulary = -(-len(tokenizer) // 64) * 64
    tower = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = Blip2Config(
        vision_config=Blip2VisionConfig(
            **tower, image_size=IMAGE_SIDE, patch_size=14, initializer_range=_SPREAD
        ).to_dict(),
        qformer_config=Blip2QFormerConfig(
            **tower,
            vocab_size=vocabulary,
            encoder_hidden_size=64,
            cross_attention_frequency=1,
            initializer_range=_SPREAD,
        ).to_dict(),
        text_config=_decoder_config(decoder, vocabulary).to_dict(),
        num_query_tokens=QUERIES,
        image_token_index=tokenizer.convert_tokens_to_ids(IMAGE_TOKEN),
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = Blip2ForConditionalGeneration(config).eval()
        with torch.no_grad():
            model.query_tokens.normal_()
            # Biases and norms start at 0 and 1; a checkpoint read with one of them left out would look whole.
            for name, parameter in model.named_parameters():
                if parameter.ndim == 1:
                    parameter.add_(
                        torch.randn_like(parameter), alpha=0.02 if "norm" in name.lower() else 0.05
                    )
    model.save_pretrained(directory)
    images = BlipImageProcessorPil(size={"height": IMAGE_SIDE, "width": IMAGE_SIDE})
    Blip2Processor(images, tokenizer, num_query_tokens=QUERIES).save_pretrained(directory)
    finish(directory.name, directory, lambda _fraction, _text: None)
    return directory


def _decoder_config(kind: DecoderKind, vocabulary: int) -> Any:
    from transformers import LlamaConfig, OPTConfig

    alike = {
        "vocab_size": vocabulary,
        "hidden_size": WIDTH,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "max_position_embeddings": _CONTEXT_TOKENS,
        "pad_token_id": 0,
        "bos_token_id": 1,
        "eos_token_id": 2,
    }
    if kind == "opt":
        return OPTConfig(**alike, ffn_dim=256, word_embed_proj_dim=WIDTH, dropout=0.0, init_std=_SPREAD)
    return LlamaConfig(
        **alike,
        intermediate_size=256,
        num_key_value_heads=1,
        initializer_range=_SPREAD,
        tie_word_embeddings=False,
    )
