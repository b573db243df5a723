"""BLIP-2 in parts answers as BLIP-2 in one piece: bytes through sandbox, vision tower, bridge and real vLLM.

The other side is transformers' own: its picture processor, its ``Blip2ForConditionalGeneration``, and for prompts
with several media the same model's parts put together by hand.
"""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytest_asyncio
import torch
from PIL import Image
from tiny_blip2 import IMAGE_TOKEN, QUERIES, WIDTH, tiny_blip2
from tiny_models import photo
from vllm_engines import ask, attached, running_engine

from encoders import registry
from encoders.batching.micro_batcher import MicroBatcher
from encoders.config import TOKEN_BATCHES, DecodeLimits, EncoderConfig
from encoders.decoding.sandbox import DecodedFrame, MediaDecoder
from encoders.types import FrameSampling, ImageTokens, Pixels
from encoders.vision.token_sights import TokenSight, TokenSightEncoder
from fusion.config import BridgeConfig
from fusion.types import SoftTokens
from serving.deployments.bridge import BridgeDeployment
from serving.deployments.frame_encoding import token_frames
from serving.engines.vllm import VllmEngine
from serving.services import PromptEmbeddings

# Each engine's start counts into the first test's time.
pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(600)]

PROMPTS = 100
AT_ONCE = 4
ANSWER_TOKENS = 16
_EOS = 2
_QUESTIONS = (
    "what is it",
    "how many are there",
    "describe this photo",
    "Is it a cat?",
    "which colour, and why",
)


@dataclass(frozen=True)
class Split:
    """The platform's parts."""

    name: str
    decoder: MediaDecoder
    side: int
    tokens: MicroBatcher[TokenSight, ImageTokens]
    bridge: BridgeDeployment
    engine: VllmEngine

    async def picture(self, data: bytes, views: int = 1) -> SoftTokens:
        pixels = (await self.decoder.image(data, max_side=self.side)).pixels
        return await self.bridge.project_image(await self._see(pixels, views))

    async def video(self, data: bytes, sampling: FrameSampling) -> SoftTokens:
        seen = await token_frames(self.decoder.frames(data, sampling), partial(self._see, views=1))
        return await self.bridge.project_video(seen)

    async def _see(self, pixels: Pixels, views: int) -> ImageTokens:
        return (await self.tokens.submit((TokenSight(pixels, views),)))[0]

    def attachments(self, soft: SoftTokens) -> list[PromptEmbeddings]:
        return [PromptEmbeddings(piece, soft.decoder) for piece in soft.vectors]


class Whole:
    """The same checkpoint in transformers."""

    def __init__(self, folder: Path) -> None:
        from transformers import AutoProcessor, Blip2ForConditionalGeneration

        self.model: Any = Blip2ForConditionalGeneration.from_pretrained(folder).eval()
        self.processor: Any = AutoProcessor.from_pretrained(folder)

    @torch.no_grad()
    def soft(self, picture: Image.Image | Pixels) -> torch.Tensor:
        """``(queries, width)`` of a picture, by transformers' own preprocessing."""
        values = self.processor.image_processor(picture, return_tensors="pt").pixel_values
        return torch.as_tensor(self.model.get_image_features(values).pooler_output[0])

    def answer(self, picture: Image.Image, question: str) -> list[int]:
        """Greedy tokens of the whole model."""
        text = self._templated(f"{IMAGE_TOKEN * QUERIES}\n{question}")
        ids = self.processor.tokenizer(text, return_tensors="pt", add_special_tokens=False).input_ids
        values = self.processor.image_processor(picture, return_tensors="pt").pixel_values
        made = self.model.generate(
            pixel_values=values,
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=ANSWER_TOKENS,
            do_sample=False,
        )
        return [int(token) for token in made[0, ids.shape[1] :]]

    @torch.no_grad()
    def answer_by_hand(self, parts: list[str | torch.Tensor]) -> list[int]:
        """Greedy tokens of the decoder for a message's parts, each on a line: embeddings laid end to end."""
        marked = "\n".join(part if isinstance(part, str) else IMAGE_TOKEN for part in parts)
        soft = iter([part for part in parts if not isinstance(part, str)])
        embed = self.model.language_model.get_input_embeddings()
        rows: list[torch.Tensor] = []
        pieces = self._templated(marked).split(IMAGE_TOKEN)
        for index, piece in enumerate(pieces):
            ids = self.processor.tokenizer(piece, add_special_tokens=False).input_ids
            rows.append(embed(torch.tensor(ids, dtype=torch.long)))
            if index < len(pieces) - 1:
                rows.append(next(soft))
        prompt = torch.cat(rows)[None]
        made = self.model.language_model.generate(
            inputs_embeds=prompt,
            attention_mask=torch.ones(prompt.shape[:2], dtype=torch.long),
            max_new_tokens=ANSWER_TOKENS,
            do_sample=False,
        )
        return [int(token) for token in made[0]]

    def _templated(self, content: str) -> str:
        messages = [{"role": "user", "content": content}]
        tokenizer = self.processor.tokenizer
        return str(tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True))


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=["opt", "llama"])
async def sides(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[tuple[Split, Whole]]:
    models = tmp_path_factory.mktemp("models")
    folder = tiny_blip2(models / f"blip2-{request.param}", request.param)
    tower = registry.load(folder.name, EncoderConfig(models))
    side = int(registry.find(folder.name, models).extra["side_pixels"])
    decoder = MediaDecoder(DecodeLimits(), workers=2)
    tokens: MicroBatcher[TokenSight, ImageTokens] = MicroBatcher(TokenSightEncoder(tower), TOKEN_BATCHES)
    bridge = BridgeDeployment(BridgeConfig(folder, folder.name))
    with running_engine(
        folder / "decoder", soft_tokens_as="prompt_embeds", soft_tokens_of=folder.name, context_tokens=1024
    ) as engine:
        yield Split(folder.name, decoder, side, tokens, bridge, engine), Whole(folder)
    await decoder.aclose()
    await tokens.aclose()
    await bridge.aclose()


def picture(index: int) -> bytes:
    """Pictures of many shapes, as PNG and JPEG by turns; every eighth is much larger than the tower's view."""
    scale = 8 if index % 8 == 7 else 1
    buffer = io.BytesIO()
    image = Image.fromarray(photo(scale * (40 + 7 * (index % 13)), scale * (90 - 5 * (index % 11)), index))
    image.save(buffer, "PNG" if index % 2 else "JPEG")
    return buffer.getvalue()


def opened(data: bytes) -> Image.Image:
    return Image.open(io.BytesIO(data)).convert("RGB")


def film(frames: int) -> bytes:
    """A video of that many still pictures, one each second."""
    import av

    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4") as out:
        stream = out.add_stream("mpeg4", rate=1)
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        stream.bit_rate = 4_000_000
        for index in range(frames):
            out.mux(stream.encode(av.VideoFrame.from_ndarray(photo(96, 64, 500 + index), "rgb24")))
        out.mux(stream.encode(None))
    return buffer.getvalue()


def ended(tokens: list[int]) -> list[int]:
    """An answer without the token that ends it: vLLM and transformers count it differently."""
    return tokens[:-1] if tokens[-1:] == [_EOS] else tokens


async def test_a_hundred_pictures_and_questions(sides: tuple[Split, Whole]) -> None:
    split, whole = sides
    turns = asyncio.Semaphore(AT_ONCE)

    async def asked(index: int) -> tuple[float, list[int]]:
        data, question = picture(index), f"{_QUESTIONS[index % 5]} {index}?"
        async with turns:
            soft = await split.picture(data)
            answer = await ask(split.engine, [attached(0), question], *split.attachments(soft))
        assert answer.status == 200, answer.body
        away = np.abs(soft.vectors[0] - whole.soft(opened(data)).numpy()).max()
        assert ended(answer.tokens) == ended(whole.answer(opened(data), question)), index
        return float(away), answer.tokens

    found = await asyncio.gather(*(asked(index) for index in range(PROMPTS)))
    assert max(away for away, _ in found) < 1e-5
    # Of a model that heeds its pictures, or this would prove little.
    assert len({tuple(tokens) for _, tokens in found}) > PROMPTS * 0.9


async def test_pictures_over_the_towers_size_differ_by_one_scaling_only(sides: tuple[Split, Whole]) -> None:
    """The sandbox shrinks a large photo before the tower does, and little is lost by it."""
    split, whole = sides
    buffer = io.BytesIO()
    Image.fromarray(photo(2000, 1500, 3)).save(buffer, "PNG")
    soft = (await split.picture(buffer.getvalue())).vectors[0]
    wanted = whole.soft(opened(buffer.getvalue())).numpy()
    assert np.linalg.norm(soft - wanted) < 0.03 * np.linalg.norm(wanted)


async def test_tiles_are_pictures_of_their_own(sides: tuple[Split, Whole]) -> None:
    split, whole = sides
    pixels = photo(168, 56, 4)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    soft = await split.picture(buffer.getvalue(), views=4)
    assert soft.vectors.shape == (4, QUERIES, WIDTH)
    shown = [pixels, pixels[:, :56], pixels[:, 56:112], pixels[:, 112:]]
    for ours, view in zip(soft.vectors, shown, strict=True):
        np.testing.assert_allclose(ours, whole.soft(np.ascontiguousarray(view)).numpy(), atol=1e-5)


@pytest.mark.parametrize("count", [2, 3, 8])
async def test_several_pictures_in_one_prompt(sides: tuple[Split, Whole], count: int) -> None:
    split, whole = sides
    data = [picture(200 + index) for index in range(count)]
    soft = [await split.picture(one) for one in data]
    ours: list[Any] = ["Compare"]
    theirs: list[str | torch.Tensor] = ["Compare"]
    for index, one in enumerate(data):
        ours += [f"picture {index}", attached(index)]
        theirs += [f"picture {index}", whole.soft(opened(one))]
    attachments = [one for each in soft for one in split.attachments(each)]
    answer = await ask(split.engine, [*ours, "Which is it?"], *attachments)
    assert answer.status == 200, answer.body
    assert ended(answer.tokens) == ended(whole.answer_by_hand([*theirs, "Which is it?"]))
    other = await ask(split.engine, [*ours, "Which is it?"], *reversed(attachments))
    assert other.tokens != answer.tokens  # their order matters


async def test_a_video_is_its_frames_with_their_times(sides: tuple[Split, Whole]) -> None:
    split, whole = sides
    data, sampling = film(9), FrameSampling(max_frames=5)
    soft = await split.video(data, sampling)
    frames = [
        frame async for frame in split.decoder.frames(data, sampling) if isinstance(frame, DecodedFrame)
    ]
    assert len(soft.vectors) == len(frames) > 2
    assert soft.times_seconds == tuple(frame.time_seconds for frame in frames)
    assert soft.reasons == tuple(frame.reason for frame in frames)
    assert soft.duration_seconds == pytest.approx(9.0, abs=1.0)
    ours: list[Any] = []
    theirs: list[str | torch.Tensor] = []
    for index, frame in enumerate(frames):
        wanted = whole.soft(frame.pixels)
        np.testing.assert_allclose(soft.vectors[index], wanted.numpy(), atol=1e-5)
        ours += [f"t={frame.time_seconds:.1f}s", attached(index)]
        theirs += [f"t={frame.time_seconds:.1f}s", wanted]
    answer = await ask(split.engine, [*ours, "What happens?"], *split.attachments(soft))
    assert answer.status == 200, answer.body
    assert ended(answer.tokens) == ended(whole.answer_by_hand([*theirs, "What happens?"]))
