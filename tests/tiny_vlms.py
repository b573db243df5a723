"""Vision language models with random weights, a megabyte or two each, written as transformers writes real ones.

Two families that vLLM serves on a CPU besides BLIP-2 (``tests/tiny_blip2.py``): LLaVA with a CLIP tower and a Llama
decoder, which also takes embeddings of pictures made elsewhere, and Idefics3 (SmolVLM's architecture), which splits
pictures into tiles. Processor, tokenizer and chat template lie beside the weights.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tiny_blip2 import blip2_tokenizer

__all__ = [
    "LLAVA_PATCHES",
    "LLAVA_SIDE",
    "LLAVA_WIDTH",
    "tiny_idefics3",
    "tiny_llava",
    "tiny_qwen2_audio",
    "tiny_qwen3_vl",
]

LLAVA_SIDE = 56
LLAVA_PATCHES = 16
"""Tokens of a picture."""
LLAVA_WIDTH = 128
"""Hidden size of the decoder."""

# Of the "openai" form: it walks the parts of a message itself, so pictures stay where they are.
_PARTS_TEMPLATE = (
    "{% for m in messages %}{{ m.role }}: {% if m.content is string %}{{ m.content }}{% else %}"
    "{% for part in m.content %}{% if part.type == 'image' %}<image>{% else %}{{ part.text }}{% endif %}"
    "{% endfor %}{% endif %}{{ '\n' }}{% endfor %}assistant:"
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
    _rename_weights(directory, "vision_tower.", "vision_tower.vision_model.")
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


def _decoder(tokenizer: Any) -> dict[str, Any]:
    return {
        "vocab_size": -(-len(tokenizer) // 64) * 64, "hidden_size": LLAVA_WIDTH, "intermediate_size": 256,
        "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 1,
        "max_position_embeddings": 2048, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2,
        "tie_word_embeddings": False,
    }  # fmt: skip


def _llama(tokenizer: Any) -> Any:
    from transformers import LlamaConfig

    return LlamaConfig(**_decoder(tokenizer))


def _spread(model: Any) -> None:
    """Weights wide enough that answers differ from picture to picture."""
    import torch

    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.normal_(0.0, _SPREAD)


def tiny_qwen2_audio(directory: Path, seed: int = 0) -> Path:
    """A Qwen2-Audio that hears up to thirty seconds: 25 tokens a second."""
    import torch
    from transformers import (
        Qwen2AudioConfig,
        Qwen2AudioEncoderConfig,
        Qwen2AudioForConditionalGeneration,
        Qwen2AudioProcessor,
        Qwen2Config,
        WhisperFeatureExtractor,
    )

    directory.mkdir(parents=True, exist_ok=True)
    tokenizer = blip2_tokenizer()
    tokenizer.add_special_tokens(
        {"additional_special_tokens": ["<image>", "<|AUDIO|>", "<|audio_bos|>", "<|audio_eos|>"]}
    )
    template = _PARTS_TEMPLATE.replace("'image'", "'audio'").replace(
        "<image>", "<|audio_bos|><|AUDIO|><|audio_eos|>"
    )
    tokenizer.chat_template = template
    config = Qwen2AudioConfig(
        audio_config=Qwen2AudioEncoderConfig(
            d_model=64, encoder_layers=2, encoder_attention_heads=2, encoder_ffn_dim=128, num_mel_bins=80,
        ),
        text_config=Qwen2Config(**_decoder(tokenizer)),
        audio_token_index=tokenizer.convert_tokens_to_ids("<|AUDIO|>"),
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = Qwen2AudioForConditionalGeneration(config).eval()
        _spread(model)
    model.save_pretrained(directory)
    _rename_weights(directory, "language_model.model.model.", "language_model.model.")
    Qwen2AudioProcessor(
        WhisperFeatureExtractor(feature_size=80), tokenizer, chat_template=template
    ).save_pretrained(directory)
    return directory


def tiny_qwen3_vl(directory: Path, seed: int = 0) -> Path:
    """A Qwen3-VL of patches of 8 pixels, four of which are one token; it writes times of frames into the prompt.

    Needs torchvision, without which transformers has no processor of videos.
    """
    import torch
    from transformers import (
        Qwen2VLImageProcessor,
        Qwen3VLConfig,
        Qwen3VLForConditionalGeneration,
        Qwen3VLProcessor,
        Qwen3VLVideoProcessor,
    )

    directory.mkdir(parents=True, exist_ok=True)
    tokenizer = blip2_tokenizer()
    marks = ["<|image_pad|>", "<|video_pad|>", "<|vision_start|>", "<|vision_end|>"]
    tokenizer.add_special_tokens({"additional_special_tokens": ["<image>", *marks]})
    template = _PARTS_TEMPLATE.replace("<image>", "<|vision_start|><|image_pad|><|vision_end|>").replace(
        "{% else %}{{ part.text }}",
        "{% elif part.type == 'video' %}<|vision_start|><|video_pad|><|vision_end|>{% else %}{{ part.text }}",
    )
    tokenizer.chat_template = template
    ids = dict(zip(("image_token_id", "video_token_id", "vision_start_token_id", "vision_end_token_id"),
                   tokenizer.convert_tokens_to_ids(marks), strict=True))  # fmt: skip
    config = Qwen3VLConfig(
        vision_config={
            "hidden_size": 64, "intermediate_size": 128, "depth": 2, "num_heads": 2, "patch_size": 8,
            "spatial_merge_size": 2, "temporal_patch_size": 2, "out_hidden_size": LLAVA_WIDTH,
            "num_position_embeddings": 64, "deepstack_visual_indexes": [0],
        },
        text_config={
            **_decoder(tokenizer), "head_dim": 64,
            "rope_parameters": {
                "rope_type": "default", "rope_theta": 10000.0, "mrope_section": [12, 10, 10],
                "mrope_interleaved": True,
            },
        },
        tie_word_embeddings=False,
        **ids,
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = Qwen3VLForConditionalGeneration(config).eval()
        _spread(model)
    model.save_pretrained(directory)
    sizes = {"patch_size": 8, "temporal_patch_size": 2, "merge_size": 2}
    pixels = {"shortest_edge": 32 * 32, "longest_edge": 128 * 128}
    Qwen3VLProcessor(
        Qwen2VLImageProcessor(**sizes, size=pixels), tokenizer,
        Qwen3VLVideoProcessor(**sizes, size={"shortest_edge": 32 * 32, "longest_edge": 128 * 128 * 8}),
        chat_template=template,
    ).save_pretrained(directory)  # fmt: skip
    return directory


def _rename_weights(directory: Path, old: str, new: str) -> None:
    """Give weights the names of published checkpoints, where vLLM does not know transformers' newest ones."""
    from safetensors.torch import load_file, save_file

    path = directory / "model.safetensors"
    renamed = {
        new + name.removeprefix(old) if name.startswith(old) else name: tensor
        for name, tensor in load_file(path).items()
    }
    save_file(renamed, path, metadata={"format": "pt"})
