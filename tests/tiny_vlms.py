"""Vision language models with random weights, a megabyte or two each, written as transformers writes real ones.

Two families that vLLM serves on a CPU besides BLIP-2 (``tests/tiny_blip2.py``): LLaVA with a CLIP tower and a Llama
decoder, which also takes embeddings of pictures made elsewhere, and Idefics3 (SmolVLM's architecture), which splits
pictures into tiles. Processor, tokenizer and chat template lie beside the weights.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tiny_blip2 import blip2_tokenizer

__all__ = ["LLAVA_PATCHES", "LLAVA_SIDE", "LLAVA_WIDTH", "tiny_idefics3", "tiny_llava"]

LLAVA_SIDE = 56
LLAVA_PATCHES = 16
"""Tokens of a picture."""
LLAVA_WIDTH = 128
"""Hidden size of the decoder."""

# Of the "openai" form: it walks the parts of a message itself, so pictures stay where they are.
_PARTS_TEMPLATE = (
    "{% for m in messages %}{{ m.role }}: {% if m.content is string %}{{ m.content }}{% else %}"
    "{% for part in m.content %}{% if part.type == 'image' %}<image>{% else %}{{ part.text }}{% endif %}"
    "{% endfor %}{% endif %}\n{% endfor %}assistant:"
)
_SPREAD = 0.2


def tiny_llava(directory: Path, seed: int = 0) -> Path:
    """A LLaVA of 56-pixel pictures: 16 tokens each, without the class token."""
    import torch
    from transformers import CLIPVisionConfig, LlavaConfig, LlavaForConditionalGeneration, LlavaProcessor
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

    directory.mkdir(parents=True, exist_ok=True)
    tokenizer = blip2_tokenizer()
    tokenizer.chat_template = _PARTS_TEMPLATE
    config = LlavaConfig(
        vision_config=CLIPVisionConfig(
            hidden_size=64, intermediate_size=128, num_hidden_layers=3, num_attention_heads=2, projection_dim=64,
            image_size=LLAVA_SIDE, patch_size=14,
        ),
        text_config=_llama(tokenizer),
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
        image_seq_length=LLAVA_PATCHES,
        vision_feature_layer=-2,
        vision_feature_select_strategy="default",
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = LlavaForConditionalGeneration(config).eval()
        _spread(model)
    model.save_pretrained(directory)
    images = CLIPImageProcessorPil(
        size={"shortest_edge": LLAVA_SIDE}, crop_size={"height": LLAVA_SIDE, "width": LLAVA_SIDE}
    )
    LlavaProcessor(
        images, tokenizer, patch_size=14, vision_feature_select_strategy="default",
        chat_template=_PARTS_TEMPLATE, num_additional_image_tokens=1,
    ).save_pretrained(directory)  # fmt: skip
    return directory


def tiny_idefics3(directory: Path, seed: int = 0) -> Path:
    """An Idefics3 whose pictures are split into tiles of 56 pixels, four tokens a tile."""
    import torch
    from transformers import (
        Idefics3Config,
        Idefics3ForConditionalGeneration,
        Idefics3Processor,
        Idefics3VisionConfig,
    )
    from transformers.models.idefics3.image_processing_pil_idefics3 import Idefics3ImageProcessorPil

    directory.mkdir(parents=True, exist_ok=True)
    tokenizer = blip2_tokenizer()
    tokenizer.chat_template = _PARTS_TEMPLATE
    marks = ["<fake_token_around_image>", "<global-img>", "<end_of_utterance>"]
    marks += [f"<row_{row}_col_{column}>" for row in range(1, 5) for column in range(1, 5)]
    tokenizer.add_special_tokens({"additional_special_tokens": ["<image>", *marks]})
    config = Idefics3Config(
        vision_config=Idefics3VisionConfig(
            hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=2, patch_size=14,
            image_size=56,
        ).to_dict(),
        text_config=_llama(tokenizer).to_dict(),
        image_token_id=tokenizer.convert_tokens_to_ids("<image>"),
        scale_factor=2,
        pad_token_id=0,
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = Idefics3ForConditionalGeneration(config).eval()
        _spread(model)
    model.save_pretrained(directory)
    images = Idefics3ImageProcessorPil(size={"longest_edge": 112}, max_image_size={"longest_edge": 56})
    Idefics3Processor(images, tokenizer, image_seq_len=4, chat_template=_PARTS_TEMPLATE).save_pretrained(
        directory
    )
    return directory


def _llama(tokenizer: Any) -> Any:
    from transformers import LlamaConfig

    return LlamaConfig(
        vocab_size=-(-len(tokenizer) // 64) * 64, hidden_size=LLAVA_WIDTH, intermediate_size=256,
        num_hidden_layers=2, num_attention_heads=2, num_key_value_heads=1, max_position_embeddings=2048,
        pad_token_id=0, bos_token_id=1, eos_token_id=2, tie_word_embeddings=False,
    )  # fmt: skip


def _spread(model: Any) -> None:
    """Weights wide enough that answers differ from picture to picture."""
    import torch

    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.normal_(0.0, _SPREAD)
