"""Checkpoints with random weights, a few kilobytes each, written as transformers writes real ones.

Parity with transformers needs no trained weights, so nothing is downloaded: architecture, tokenizer files and image
processor settings are the real ones, only small.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "MAKERS",
    "clip_tokenizer",
    "photo",
    "tiny_clip",
    "tiny_embedding_gemma",
    "tiny_siglip",
    "tiny_siglip2_naflex",
    "tiny_vit",
]

_SENTENCES = (
    "a photo of a cat on a red sofa",
    "two dogs run along the beach, one of them is wet",
    "a quick brown fox jumps over the lazy dog",
    "many people stand in front of an old station",
)

_TOWER = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}


def photo(width: int, height: int, seed: int = 0) -> NDArray[np.uint8]:
    """A smooth, coloured picture ``(height, width, 3)``, different for each seed."""
    random = np.random.default_rng(seed)
    rows, columns = np.mgrid[0:height, 0:width] / max(width, height)
    waves = [
        np.sin(random.uniform(2, 20) * columns + random.uniform(2, 20) * rows + random.uniform(0, 6))
        for _ in range(3)
    ]
    noise = random.normal(0, 6, (height, width, 3))
    return np.clip(127.5 + 110 * np.stack(waves, -1) + noise, 0, 255).astype(np.uint8)


def _save(model: Any, directory: Path) -> None:
    import torch

    # Random layers this small give almost the same answer to everything; wider weights tell pictures apart.
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.3)
    model.save_pretrained(directory)


def clip_tokenizer(directory: Path) -> int:
    """CLIP's byte-level BPE with a handful of merges; gives the vocabulary's size."""
    from transformers import CLIPTokenizer
    from transformers.convert_slow_tokenizer import bytes_to_unicode

    letters = list(bytes_to_unicode().values())
    merges = [("c", "at</w>"), ("d", "o"), ("do", "g</w>"), ("o", "f</w>"), ("a", "t</w>")]
    pieces = [*letters, *(letter + "</w>" for letter in letters), *("".join(pair) for pair in merges)]
    pieces += ["<|startoftext|>", "<|endoftext|>"]
    vocabulary = {piece: index for index, piece in enumerate(dict.fromkeys(pieces))}
    tokenizer = CLIPTokenizer(vocab=vocabulary, merges=merges, model_max_length=77)
    tokenizer.save_pretrained(directory)
    return len(vocabulary)


def tiny_clip(directory: Path) -> Path:
    """A CLIP of 32-pixel pictures in patches of 8, texts up to 77 tokens."""
    from transformers import CLIPConfig, CLIPModel
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

    size = clip_tokenizer(directory)
    ends = {"bos_token_id": size - 2, "eos_token_id": size - 1, "pad_token_id": size - 1}
    config = CLIPConfig(
        text_config={**_TOWER, "vocab_size": size, "projection_dim": 24, **ends},
        vision_config={**_TOWER, "image_size": 32, "patch_size": 8, "projection_dim": 24},
        projection_dim=24,
    )
    _save(CLIPModel(config), directory)
    CLIPImageProcessorPil(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}).save_pretrained(
        directory
    )
    return directory


def _siglip_tokenizer(directory: Path) -> int:
    """SigLIP's sentencepiece tokenizer, trained on four sentences; gives the vocabulary's size."""
    import sentencepiece
    from transformers import SiglipTokenizer

    written = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(_SENTENCES * 4), model_writer=written, vocab_size=60, hard_vocab_limit=False,
        pad_id=-1, bos_id=-1, eos_id=1, unk_id=2, minloglevel=2,
    )  # fmt: skip
    (directory / "spiece.model").write_bytes(written.getvalue())
    tokenizer = SiglipTokenizer(str(directory / "spiece.model"), model_input_names=["input_ids"])
    tokenizer.save_pretrained(directory)
    return len(tokenizer)


def tiny_siglip(directory: Path) -> Path:
    """A SigLIP (fixed resolution) of 32-pixel pictures in patches of 8, texts of 64 tokens."""
    import torch
    from transformers import SiglipConfig, SiglipModel
    from transformers.models.siglip.image_processing_pil_siglip import SiglipImageProcessorPil

    size = _siglip_tokenizer(directory)
    config = SiglipConfig(
        text_config={**_TOWER, "vocab_size": size, "max_position_embeddings": 64, "projection_size": 32},
        vision_config={**_TOWER, "image_size": 32, "patch_size": 8},
    )
    model = SiglipModel(config)
    with torch.no_grad():
        model.logit_scale.fill_(4.0)
        model.logit_bias.fill_(-12.0)
    _save(model, directory)
    SiglipImageProcessorPil(size={"height": 32, "width": 32}).save_pretrained(directory)
    return directory


def _siglip2_tokenizer(directory: Path) -> int:
    """SigLIP 2's (Gemma's) BPE of single letters, lower case; gives the vocabulary's size."""
    from transformers import Siglip2Tokenizer

    letters = sorted(set("".join(_SENTENCES)) | set("abcdefghijklmnopqrstuvwxyz.,!?0123456789") - {" "})
    pieces = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>", "▁", *letters]
    vocabulary = {piece: index for index, piece in enumerate(dict.fromkeys(pieces))}
    tokenizer = Siglip2Tokenizer(vocab=vocabulary, merges=[], model_input_names=["input_ids"])
    tokenizer.save_pretrained(directory)
    return len(vocabulary)


def tiny_siglip2_naflex(directory: Path) -> Path:
    """A SigLIP 2 NaFlex of up to 16 patches of 8 pixels."""
    from transformers import Siglip2Config, Siglip2Model
    from transformers.models.siglip2.image_processing_pil_siglip2 import Siglip2ImageProcessorPil

    size = _siglip2_tokenizer(directory)
    config = Siglip2Config(
        text_config={**_TOWER, "vocab_size": size, "max_position_embeddings": 64, "projection_size": 32},
        vision_config={**_TOWER, "patch_size": 8, "num_patches": 16},
    )
    _save(Siglip2Model(config), directory)
    Siglip2ImageProcessorPil(patch_size=8, max_num_patches=16).save_pretrained(directory)
    return directory


def tiny_vit(directory: Path, labels: int = 5) -> Path:
    """A ViT of 32-pixel pictures in patches of 8; without ``labels`` it has no classifier."""
    from transformers import ViTConfig, ViTForImageClassification, ViTModel
    from transformers.models.vit.image_processing_pil_vit import ViTImageProcessorPil

    names = {index: f"thing {index}" for index in range(labels)}
    known = {"id2label": names, "label2id": {name: index for index, name in names.items()}} if labels else {}
    config = ViTConfig(**_TOWER, image_size=32, patch_size=8, **known)
    _save(ViTForImageClassification(config) if labels else ViTModel(config), directory)
    ViTImageProcessorPil(size={"height": 32, "width": 32}).save_pretrained(directory)
    return directory


def _gemma_tokenizer(directory: Path) -> dict[str, int]:
    """Gemma's BPE of single letters with the marks of media; gives their token ids by name."""
    from tokenizers.processors import TemplateProcessing
    from transformers import GemmaTokenizer

    letters = sorted(set("".join(_SENTENCES)) | set("abcdefghijklmnopqrstuvwxyz.,:|!? ABCDEFGH0123456789"))
    marks = {
        "boi_token": "<|image>", "image_token": "<|image|>", "eoi_token": "<image|>", "boa_token": "<|audio>",
        "audio_token": "<|audio|>", "eoa_token": "<audio|>", "video_token": "<|video|>",
    }  # fmt: skip
    pieces = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>", *marks.values(), "▁", *letters]
    vocabulary = {piece: index for index, piece in enumerate(dict.fromkeys(pieces))}
    tokenizer = GemmaTokenizer(vocab=vocabulary, merges=[], extra_special_tokens=marks)
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single="<bos> $A <eos>", special_tokens=[("<bos>", 2), ("<eos>", 1)]
    )
    tokenizer.save_pretrained(directory)
    return {"size": len(vocabulary)} | {name: vocabulary[piece] for name, piece in marks.items()}


def tiny_embedding_gemma(directory: Path) -> Path:
    """An EmbeddingGemma 2 with all its towers: up to 70 soft tokens a picture, of 3 x 3 patches of 4 pixels."""
    import json

    from transformers import EmbeddingGemma2Config, EmbeddingGemma2Model
    from transformers.models.gemma4.image_processing_pil_gemma4 import Gemma4ImageProcessorPil

    ids = _gemma_tokenizer(directory)
    config = EmbeddingGemma2Config(
        text_config={
            "vocab_size": ids["size"], "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2,
            "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 16, "global_head_dim": 32,
            "num_global_key_value_heads": 1, "hidden_size_per_layer_input": 8, "embedding_dim": 256,
            "sliding_window": 8, "layer_types": ["sliding_attention", "full_attention"],
            "pad_token_id": 0, "eos_token_id": 1, "bos_token_id": 2,
        },
        vision_config={
            "model_type": "gemma4_vision", **_TOWER, "num_key_value_heads": 4, "head_dim": 8, "patch_size": 4,
            "position_embedding_size": 1200,
        },
        audio_config={
            "model_type": "gemma4_audio", "hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2,
            "subsampling_conv_channels": [128, 4], "output_proj_dims": 24, "use_clipped_linears": False,
        },
        boi_token_id=ids["boi_token"], eoi_token_id=ids["eoi_token"], image_token_id=ids["image_token"],
        video_token_id=ids["video_token"], boa_token_id=ids["boa_token"], eoa_token_index=ids["eoa_token"],
        audio_token_id=ids["audio_token"],
    )  # fmt: skip
    _save(EmbeddingGemma2Model(config), directory)
    settings = {"patch_size": 4, "max_soft_tokens": 70, "pooling_kernel_size": 3}
    processor = Gemma4ImageProcessorPil(**settings)
    (directory / "processor_config.json").write_text(json.dumps({"image_processor": processor.to_dict()}))
    return directory


MAKERS = {
    "clip": tiny_clip,
    "siglip": tiny_siglip,
    "siglip2": tiny_siglip2_naflex,
    "vit": tiny_vit,
    "gemma": tiny_embedding_gemma,
}
