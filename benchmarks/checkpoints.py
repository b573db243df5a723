"""Vision language models with random weights, in sizes that can be believed: speed depends on no weight.

``SMALL`` is BLIP-2-OPT-2.7B at about a twentieth, each part in proportion, around OPT-125M; ``OPT_2_7B`` is
Salesforce's own shape. vLLM gives a BLIP-2 one picture only, so there is a LLaVA for videos. The tokenizer is made
here too: byte-level BPE whose tokens are runs of letters, so that whatever token a random decoder says is text, and
a stream's first token can be seen. Special tokens have no weights, so a score of zero: no decoder ends by chance.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice, product
from pathlib import Path
from string import ascii_lowercase
from typing import Any

__all__ = ["OPT_2_7B", "SMALL", "Shape", "write_blip2", "write_llava"]

_SPECIAL = ("<pad>", "<s>", "</s>", "<image>")
# vLLM sees that the first takes text, and puts pictures before it; the second places them itself.
_TEXT_TEMPLATE = "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}assistant:"


_PARTS_TEMPLATE = (
    "{% for m in messages %}{{ m.role }}: {% if m.content is string %}{{ m.content }}{% else %}"
    "{% for part in m.content %}{% if part.type == 'image' %}<image>{% else %}{{ part.text }}{% endif %}"
    "{% endfor %}{% endif %}{{ '\\n' }}{% endfor %}assistant:"
)


@dataclass(frozen=True, slots=True)
class Shape:
    """Sizes of a BLIP-2 with an OPT decoder: what its three configs are given."""

    vision: dict[str, int]
    qformer: dict[str, int]
    decoder: dict[str, int]
    queries: int = 32
    vocabulary: int = 50_304
    context_tokens: int = 2048


SMALL = Shape(
    vision={
        "hidden_size": 512,
        "intermediate_size": 2048,
        "num_hidden_layers": 12,
        "num_attention_heads": 8,
        "image_size": 224,
        "patch_size": 16,
    },
    qformer={
        "hidden_size": 384,
        "intermediate_size": 1536,
        "num_hidden_layers": 6,
        "num_attention_heads": 6,
        "encoder_hidden_size": 512,
        "cross_attention_frequency": 2,
    },
    decoder={
        "hidden_size": 768,
        "ffn_dim": 3072,
        "num_hidden_layers": 12,
        "num_attention_heads": 12,
        "word_embed_proj_dim": 768,
    },
)
OPT_2_7B = Shape(
    vision={
        "hidden_size": 1408,
        "intermediate_size": 6144,
        "num_hidden_layers": 39,
        "num_attention_heads": 16,
        "image_size": 224,
        "patch_size": 14,
    },
    qformer={
        "hidden_size": 768,
        "intermediate_size": 3072,
        "num_hidden_layers": 12,
        "num_attention_heads": 12,
        "encoder_hidden_size": 1408,
        "cross_attention_frequency": 2,
    },
    decoder={
        "hidden_size": 2560,
        "ffn_dim": 10240,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "word_embed_proj_dim": 2560,
    },
)


def write_blip2(folder: Path, shape: Shape, dtype: str = "float32", device: str = "cpu") -> Path:
    """Write the checkpoint with tokenizer, processor and chat template, and the decoder's part in ``decoder``."""
    import torch
    from transformers import Blip2Config, Blip2ForConditionalGeneration, Blip2Processor, OPTConfig
    from transformers.models.blip.image_processing_pil_blip import BlipImageProcessorPil

    from encoders.models import blip2

    tokenizer = _tokenizer(shape.vocabulary, _TEXT_TEMPLATE)
    config = Blip2Config(
        vision_config=shape.vision,
        qformer_config={**shape.qformer, "vocab_size": shape.vocabulary},
        text_config=OPTConfig(
            **shape.decoder,
            vocab_size=shape.vocabulary,
            max_position_embeddings=shape.context_tokens,
            pad_token_id=0,
            bos_token_id=1,
            eos_token_id=2,
        ).to_dict(),
        num_query_tokens=shape.queries,
        image_token_index=tokenizer.convert_tokens_to_ids(_SPECIAL[3]),
    )
    torch.manual_seed(0)
    before = torch.get_default_dtype()
    torch.set_default_dtype(getattr(torch, dtype))
    try:
        with torch.device(device):
            model = Blip2ForConditionalGeneration(config)
    finally:
        torch.set_default_dtype(before)
    with torch.no_grad():
        model.query_tokens.normal_()
        model.language_model.get_input_embeddings().weight[: len(_SPECIAL)] = 0
    model.save_pretrained(folder)
    side = shape.vision["image_size"]
    images = BlipImageProcessorPil(size={"height": side, "width": side})
    Blip2Processor(images, tokenizer, num_query_tokens=shape.queries).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    blip2.finish(folder.name, folder, lambda fraction, text: None)
    return folder


def write_llava(folder: Path) -> Path:
    """A LLaVA around a Llama of SmolLM2-135M's shape: 64 tokens a picture, any number of pictures, 4096 in all."""
    import torch
    from safetensors.torch import load_file, save_file
    from transformers import (
        CLIPVisionConfig,
        LlamaConfig,
        LlavaConfig,
        LlavaForConditionalGeneration,
        LlavaProcessor,
    )
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

    vision = {**SMALL.vision, "image_size": 128, "projection_dim": 512}
    tokenizer = _tokenizer(49_152, _PARTS_TEMPLATE)
    config = LlavaConfig(
        vision_config=CLIPVisionConfig(**vision),
        text_config=LlamaConfig(
            vocab_size=49_152,
            hidden_size=576,
            intermediate_size=1536,
            num_hidden_layers=30,
            num_attention_heads=9,
            num_key_value_heads=3,
            max_position_embeddings=4096,
            pad_token_id=0,
            bos_token_id=1,
            eos_token_id=2,
            tie_word_embeddings=False,
        ),
        image_token_index=tokenizer.convert_tokens_to_ids(_SPECIAL[3]),
        image_seq_length=64,
        vision_feature_layer=-2,
        vision_feature_select_strategy="default",
    )
    torch.manual_seed(0)
    model = LlavaForConditionalGeneration(config)
    with torch.no_grad():
        model.get_output_embeddings().weight[: len(_SPECIAL)] = 0
    model.save_pretrained(folder)
    # vLLM knows the names that published checkpoints have, not those of transformers' newest version.
    path, old, new = folder / "model.safetensors", "vision_tower.", "vision_tower.vision_model."
    weights = {
        name if new in name else name.replace(old, new, 1): one for name, one in load_file(path).items()
    }
    save_file(weights, path, metadata={"format": "pt"})
    images = CLIPImageProcessorPil(size={"shortest_edge": 128}, crop_size={"height": 128, "width": 128})
    LlavaProcessor(
        images,
        tokenizer,
        patch_size=16,
        vision_feature_select_strategy="default",
        chat_template=_PARTS_TEMPLATE,
        num_additional_image_tokens=1,
    ).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def _tokenizer(size: int, chat_template: str) -> Any:
    """``size`` tokens: the special ones, all bytes, and runs of one to four letters, with a space before or not."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    merges = list(islice(_merges(), size - len(_SPECIAL) - len(letters)))
    pieces = [*_SPECIAL, *letters, *(left + right for left, right in merges)]
    vocabulary = {piece: index for index, piece in enumerate(pieces)}
    made = Tokenizer(models.BPE(vocab=vocabulary, merges=merges))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    named = dict(zip(("pad_token", "bos_token", "eos_token"), _SPECIAL, strict=False))
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=made, **named, chat_template=chat_template)
    tokenizer.add_special_tokens({"additional_special_tokens": [_SPECIAL[3]]})
    return tokenizer


def _merges() -> Iterator[tuple[str, str]]:
    space = "Ġ"  # of the byte-level alphabet
    yield from ((space, letter) for letter in ascii_lowercase)
    for length in (1, 2, 3):
        for first in product((space, ""), *[ascii_lowercase] * length):
            yield from (("".join(first), letter) for letter in ascii_lowercase)
