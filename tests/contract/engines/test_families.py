"""Families of decoders that look or listen themselves, each as transformers' whole model has it.

LLaVA and Qwen-VL need torchvision, which has no build for every machine's torch; their tests then skip.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fake_pixels import FakePixels, native
from tiny_blip2 import QUERIES, tiny_blip2
from tiny_vlms import tiny_llava, tiny_qwen2_audio, tiny_qwen3_vl
from vllm_engines import Answer, ask, attached, running_engine

from encoders.decoder_split import CHAT_TEMPLATE
from encoders.types import FrameSampling, MediaKind
from serving.errors import AttachmentRefused
from serving.services import PromptEmbeddings

pytestmark = pytest.mark.timeout(600)

QUESTION = "What is in the picture?"


def torchvision() -> None:
    try:
        import torchvision  # noqa: F401 - whether it can be imported is the question
    except (ImportError, RuntimeError):
        pytest.skip("no torchvision that fits this torch: vLLM cannot load this family")


def generated(model: Any, inputs: Any) -> list[int]:
    """Greedy tokens of transformers."""
    import torch

    with torch.no_grad():
        tokens = model.generate(**inputs, max_new_tokens=16, do_sample=False)
    return [int(token) for token in tokens[0, inputs["input_ids"].shape[1] :]]


async def picture(number: int, side: int = 96) -> Any:
    from PIL import Image

    return Image.fromarray(await FakePixels().picture(native(number).media, side))


async def test_blip2_takes_pixels(tmp_path: Path) -> None:
    from transformers import AutoProcessor, Blip2ForConditionalGeneration

    folder = tiny_blip2(tmp_path, "opt")
    with running_engine(folder, FakePixels(), native_limits={MediaKind.IMAGE: 1}) as engine:
        answers = [await ask(engine, [attached(0), QUESTION], native(number)) for number in (1, 2)]
    model = Blip2ForConditionalGeneration.from_pretrained(folder).eval()
    processor = AutoProcessor.from_pretrained(folder)
    for number, answer in zip((1, 2), answers, strict=True):
        # vLLM puts BLIP-2's picture before everything, as the model was trained.
        prompt = processor.tokenizer.encode(f"user: {QUESTION}\nassistant:", add_special_tokens=False)
        pixels = processor.image_processor(await picture(number), return_tensors="pt")["pixel_values"]
        assert answer.status == 200, answer.body
        assert answer.tokens == generated(model, blip2_inputs(model, prompt, pixels))


async def test_blip2_without_a_template_is_asked_in_its_decoders_words(tmp_path: Path) -> None:
    """vLLM has a template of its own, which leaves out the token that a text begins with."""
    from transformers import AutoProcessor, Blip2ForConditionalGeneration

    folder = tiny_blip2(tmp_path, "llama")
    (folder / "chat_template.jinja").unlink()
    template = tmp_path / "template.jinja"
    template.write_text(CHAT_TEMPLATE)
    with running_engine(
        folder, FakePixels(), native_limits={MediaKind.IMAGE: 1}, chat_template=template
    ) as engine:
        answer = await ask(engine, [attached(0), QUESTION], native(1))
    model = Blip2ForConditionalGeneration.from_pretrained(folder).eval()
    processor = AutoProcessor.from_pretrained(folder)
    tokenizer = processor.tokenizer
    prompt = tokenizer.encode(f"{tokenizer.bos_token}Question: {QUESTION} Answer:", add_special_tokens=False)
    pixels = processor.image_processor(await picture(1), return_tensors="pt")["pixel_values"]
    assert answer.status == 200, answer.body
    assert answer.tokens == generated(model, blip2_inputs(model, prompt, pixels))


def blip2_inputs(model: Any, prompt: list[int], pixels: Any) -> dict[str, Any]:
    import torch

    ids = torch.tensor([[model.config.image_token_index] * QUERIES + prompt])
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids), "pixel_values": pixels}


async def test_blip2_takes_soft_tokens_as_image_embeds(tmp_path: Path) -> None:
    """Tower, Q-Former and projection computed outside; inside, none of them is loaded. The answer is the same."""
    import torch
    from transformers import AutoProcessor, Blip2ForConditionalGeneration

    folder = tiny_blip2(tmp_path, "llama")
    model = Blip2ForConditionalGeneration.from_pretrained(folder).eval()
    processor = AutoProcessor.from_pretrained(folder)
    pixels = processor.image_processor(await picture(1), return_tensors="pt")["pixel_values"]
    with torch.no_grad():
        patches = model.vision_model(pixel_values=pixels).last_hidden_state
        seen = model.qformer(query_embeds=model.query_tokens, encoder_hidden_states=patches)
        vectors = model.language_projection(seen.last_hidden_state)[0].numpy()
    with running_engine(folder, soft_tokens_as="image_embeds", soft_tokens_of="blip2") as engine:
        answer = await ask(engine, [attached(0), QUESTION], PromptEmbeddings(vectors, "blip2"))
        with pytest.raises(AttachmentRefused):
            await ask(engine, [attached(0), QUESTION], PromptEmbeddings(vectors[:5], "blip2"))
        again = await ask(engine, [attached(0), QUESTION], PromptEmbeddings(vectors, "blip2"))
    prompt = processor.tokenizer.encode(f"user: {QUESTION}\nassistant:", add_special_tokens=False)
    assert answer.status == 200, answer.body
    assert answer.tokens == again.tokens == generated(model, blip2_inputs(model, prompt, pixels))


async def test_qwen2_audio_listens(tmp_path: Path) -> None:
    from transformers import AutoProcessor, Qwen2AudioForConditionalGeneration

    folder = tiny_qwen2_audio(tmp_path)
    pixels = FakePixels()
    with running_engine(folder, pixels, native_limits={MediaKind.AUDIO: 2}) as engine:
        answers = [
            await ask(engine, ["What", attached(0), "is said?"], native(number, MediaKind.AUDIO))
            for number in (1, 2)
        ]
    model = Qwen2AudioForConditionalGeneration.from_pretrained(folder).eval()
    processor = AutoProcessor.from_pretrained(folder)
    for number, answer in zip((1, 2), answers, strict=True):
        sound = await pixels.sound(native(number).media)
        text = "user: What<|audio_bos|><|AUDIO|><|audio_eos|>is said?\nassistant:"
        inputs = processor(text=text, audio=[sound], sampling_rate=16_000, return_tensors="pt")
        assert answer.status == 200, answer.body
        assert answer.body["prompt_token_ids"] == inputs["input_ids"][0].tolist()
        assert answer.tokens == generated(model, inputs)
    assert answers[0].tokens != answers[1].tokens


async def test_llava_looks_and_takes_what_others_saw(tmp_path: Path) -> None:
    """Pixels, and then embeddings of the tower and the projector computed outside: the same answers."""
    torchvision()
    import torch
    from transformers import AutoProcessor, LlavaForConditionalGeneration

    folder = tiny_llava(tmp_path)
    parts = ["What", attached(1), "and", attached(0), "there?"]
    with running_engine(folder, FakePixels(), native_limits={MediaKind.IMAGE: 2}) as engine:
        looked = await ask(engine, parts, native(1), native(2))
    model = LlavaForConditionalGeneration.from_pretrained(folder).eval()
    processor = AutoProcessor.from_pretrained(folder)
    pictures = [await picture(number) for number in (2, 1)]
    inputs = processor(
        text="user: What<image>and<image>there?\nassistant:", images=pictures, return_tensors="pt"
    )
    with torch.no_grad():
        seen = model.get_image_features(pixel_values=inputs["pixel_values"]).pooler_output
    assert looked.status == 200, looked.body
    assert looked.tokens == generated(model, inputs)
    second, first = (PromptEmbeddings(np.asarray(vectors, np.float32), "llava") for vectors in seen)
    with running_engine(folder, soft_tokens_as="image_embeds", soft_tokens_of="llava") as engine:
        told = await ask(engine, parts, first, second)
        fewer = await ask(engine, parts, first, PromptEmbeddings(second.vectors[:7], "llava"))
    assert told.tokens == looked.tokens
    assert (told.prompt_tokens - fewer.prompt_tokens, fewer.status) == (9, 200)


async def test_qwen3_vl_is_told_when_frames_are(tmp_path: Path) -> None:
    torchvision()
    from transformers import AutoTokenizer

    folder = tiny_qwen3_vl(tmp_path)
    sampling = FrameSampling(max_frames=6, max_side=64)

    async def asked(engine: Any, *times: float) -> Answer:
        video = native(1, MediaKind.VIDEO, sampling=sampling, times_seconds=times)
        return await ask(engine, ["What", attached(0), "there?"], video)

    with running_engine(
        folder,
        FakePixels(),
        native_limits={MediaKind.IMAGE: 2, MediaKind.VIDEO: 1},
        extra_arguments=("--skip-mm-profiling",),
    ) as engine:
        whole, some = await asked(engine), await asked(engine, 0.5, 1.5, 4.5, 5.5)
        image = await ask(engine, ["What", attached(0), "there?"], native(1))
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert image.status == 200, image.body
    # It merges two frames and writes the mean of their times.
    prompt = tokenizer.decode(whole.body["prompt_token_ids"])
    assert [time in prompt for time in ("<1.0 seconds>", "<3.0 seconds>", "<5.0 seconds>")] == [True] * 3
    prompt = tokenizer.decode(some.body["prompt_token_ids"])
    assert [time in prompt for time in ("<1.0 seconds>", "<3.0 seconds>", "<5.0 seconds>")] == [
        True,
        False,
        True,
    ]
