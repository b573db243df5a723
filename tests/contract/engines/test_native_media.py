"""Pictures that the decoder looks at itself, through real vLLM: places, caches, failures, readers that leave.

Idefics3 (SmolVLM's architecture) takes any number of pictures and splits them into tiles.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest
from fake_pixels import FakePixels, native
from tiny_vlms import tiny_idefics3
from vllm_engines import Answer, ask, attached, engine_metric, idle, running_engine

from encoders.errors import CorruptMedia
from encoders.types import FrameSampling, MediaKind
from serving.engines.vllm import VllmEngine
from serving.errors import AttachmentRefused, InvalidRequest, PerceptionTimeout
from serving.services import EngineResponse

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(600)]

MOST = 6


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_idefics3(tmp_path_factory.mktemp("models") / "idefics3")


@pytest.fixture(scope="module")
def pixels() -> FakePixels:
    return FakePixels()


@pytest.fixture(scope="module")
def engine(folder: Path, pixels: FakePixels) -> Iterator[VllmEngine]:
    with running_engine(
        folder,
        pixels,
        native_limits={MediaKind.IMAGE: MOST},
        context_tokens=1024,
        pixel_cache_bytes=1 << 20,
        extra_arguments=("--block-size", "32"),
    ) as made:
        yield made


@pytest.fixture(autouse=True)
def _calm(pixels: FakePixels) -> None:
    pixels.calls.clear()
    pixels.failure, pixels.pause_seconds, pixels.cancelled = None, 0.0, 0


async def test_pictures_stand_where_their_parts_stand(
    engine: VllmEngine, folder: Path, pixels: FakePixels
) -> None:
    """Greedy tokens equal transformers' whole model on the same prompt."""
    answer = await ask(engine, ["What", attached(1), "and", attached(0), "?"], native(1), native(2))
    assert answer.status == 200, answer.body
    shown = [await pixels.picture(native(number).media, 96) for number in (2, 1)]
    assert answer.tokens == whole_model(folder, "user: What<image>and<image>?\nassistant:", shown)
    turned = await ask(engine, ["What", attached(0), "and", attached(1), "?"], native(1), native(2))
    assert turned.tokens != answer.tokens


def whole_model(folder: Path, text: str, pictures: list[Any]) -> list[int]:
    import torch
    from PIL import Image
    from transformers import AutoProcessor, Idefics3ForConditionalGeneration

    model = Idefics3ForConditionalGeneration.from_pretrained(folder).eval()
    processor = AutoProcessor.from_pretrained(folder)
    images = [Image.fromarray(picture) for picture in pictures]
    inputs = processor(text=text, images=[images], return_tensors="pt", add_special_tokens=False)
    with torch.no_grad():
        tokens = model.generate(**inputs, max_new_tokens=16, do_sample=False)
    return list(map(int, tokens[0, inputs["input_ids"].shape[1] :]))


async def test_frames_of_one_video_are_decoded_once(engine: VllmEngine, pixels: FakePixels) -> None:
    sampling = FrameSampling(max_frames=4, max_side=56)
    frames = [native(3, sampling=sampling, times_seconds=(time,)) for time in (0.5, 2.5)]
    answer = await ask(engine, ["t=0.5s", attached(0), "t=2.5s", attached(1), "what?"], *frames)
    assert answer.status == 200, answer.body
    assert pixels.calls == ["film"]
    late = native(3, sampling=sampling, times_seconds=(9.0,))
    with pytest.raises(AttachmentRefused):
        await ask(engine, [attached(0)], late)


async def test_a_second_question_looks_nowhere(engine: VllmEngine, pixels: FakePixels) -> None:
    """Neither pixels are decoded again nor the processor runs, and the prefix comes from the cache."""
    first = await ask(engine, [attached(0), "what is it?"], native(10))
    hits = await engine_metric(engine, "vllm:prefix_cache_hits_total")
    looked_up = await engine_metric(engine, "vllm:mm_cache_hits_total")
    again = await ask(engine, [attached(0), "who is there?"], native(10))
    assert pixels.calls == ["picture"]
    assert first.cached_tokens == 0
    assert again.cached_tokens == await engine_metric(engine, "vllm:prefix_cache_hits_total") - hits == 32
    assert await engine_metric(engine, "vllm:mm_cache_hits_total") - looked_up == 1


async def test_other_parameters_and_other_tenants_never_share(engine: VllmEngine) -> None:
    """The same bytes: another size, another tenant, and the same content id under another tenant's salt."""
    await ask(engine, [attached(0), "what is it?"], native(11))
    smaller = await ask(engine, [attached(0), "what is it?"], native(11, max_side=64))
    foreign = await ask(
        engine, [attached(0), "what is it?"], native(11, tenant="other"), cache_salt="tenant-2"
    )
    salted = await ask(engine, [attached(0), "what is it?"], native(11), cache_salt="tenant-2")
    unsalted = await ask(engine, [attached(0), "what is it?"], native(11, tenant="other"))
    assert [item.cached_tokens for item in (smaller, foreign, salted, unsalted)] == [0, 0, 0, 0]
    assert (await ask(engine, [attached(0), "what is it?"], native(11))).cached_tokens == 32


@pytest.mark.parametrize(
    "told", ["a <image> b", "<##IMAGE##>", "<image>", "<fake_token_around_image><image>"], ids=range(4)
)
async def test_placeholders_in_texts_are_only_words(engine: VllmEngine, told: str) -> None:
    """They neither fail nor move the picture, before it, behind it and without it."""
    broken = told.replace("<image>", "< image>").replace("<##IMAGE##>", "< ##IMAGE##>")
    assert broken != told
    for parts in ([told, attached(0)], [attached(0), told]):
        answer = await ask(engine, parts, native(12))
        plain = await ask(engine, [broken if part == told else part for part in parts], native(12))
        assert answer.status == plain.status == 200, answer.body
        assert (answer.tokens, answer.prompt_tokens) == (plain.tokens, plain.prompt_tokens)
    alone = await ask(engine, told)
    assert alone.status == 200
    escaped = json.dumps(told).replace("<", "\\u003c").encode()
    body = b'{"model":"m","max_completion_tokens":4,"messages":[{"role":"user","content":' + escaped + b"}]}"
    assert await status(engine, body) == 200


async def status(engine: VllmEngine, body: bytes) -> int:
    answer = engine.request("POST", "/v1/chat/completions", {"content-type": "application/json"}, body)
    (found,) = [item.status async for item in answer if isinstance(item, EngineResponse)]
    return found


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:9/x.png", "file:///etc/passwd", "data:image/png;base64,AA"]
)
async def test_no_url_is_ever_opened(engine: VllmEngine, url: str) -> None:
    """Should a client's URL reach vLLM, it is refused as unknown."""
    answer = await ask(engine, [{"type": "image_url", "image_url": {"url": url}}, "what?"])
    assert answer.status in (400, 422)
    assert "127.0.0.1" not in answer.message
    assert "passwd" not in answer.message


async def test_failures_of_decoding_are_this_requests_errors(
    engine: VllmEngine, pixels: FakePixels, monkeypatch: pytest.MonkeyPatch
) -> None:
    pixels.failure = CorruptMedia("The picture is damaged.")
    with pytest.raises(CorruptMedia, match="damaged"):
        await ask(engine, [attached(0)], native(20))
    pixels.failure, pixels.pause_seconds = None, 30.0
    monkeypatch.setattr(engine._attached._native, "_timeout_seconds", 0.01)
    with pytest.raises(PerceptionTimeout):
        await ask(engine, [attached(0)], native(20))
    monkeypatch.undo()
    assert pixels.cancelled == 1
    pixels.pause_seconds = 0.0
    assert (await ask(engine, [attached(0)], native(20))).status == 200


async def test_what_this_engine_does_not_take_is_refused(engine: VllmEngine) -> None:
    with pytest.raises(AttachmentRefused, match="recordings"):
        await ask(engine, [attached(0)], native(1, MediaKind.AUDIO))
    with pytest.raises(InvalidRequest, match=f"at most {MOST} pictures"):
        await ask(engine, [attached(index) for index in range(7)], *(native(index) for index in range(7)))
    with pytest.raises(AttachmentRefused):
        await ask(engine, [attached(1)], native(1))
    with pytest.raises(AttachmentRefused):
        await ask(engine, ["nothing here"], native(1))
    assert (await ask(engine, [attached(0)])).status == 400


async def test_a_reader_that_leaves_stops_the_decoding_of_media(
    engine: VllmEngine, pixels: FakePixels
) -> None:
    pixels.pause_seconds = 30.0
    asking = asyncio.create_task(ask(engine, [attached(0), attached(1)], native(30), native(31)))
    while len(pixels.calls) < 2:  # noqa: ASYNC110 a fake that is asked, not one that tells
        await asyncio.sleep(0.005)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    await asyncio.sleep(0)
    assert pixels.cancelled == 2
    assert not engine._llm.output_processor.has_unfinished_requests()


async def test_a_reader_that_leaves_frees_the_engine(engine: VllmEngine) -> None:
    body = {
        "model": "m", "stream": True, "max_completion_tokens": 900, "ignore_eos": True,
        "messages": [{"role": "user", "content": [attached(0), {"type": "text", "text": "on and on"}]}],
    }  # fmt: skip
    headers = {"content-type": "application/json"}
    encoded = json.dumps(body).encode()
    async with aclosing(
        engine.request("POST", "/v1/chat/completions", headers, encoded, (native(32),))
    ) as answer:
        chunks = 0
        async for item in answer:
            chunks += isinstance(item, bytes)
            if chunks == 3:
                break
        assert await engine_metric(engine, "vllm:num_requests_running") == 1
    await idle(engine)
    assert (await ask(engine, "still there?")).status == 200
    assert await engine_metric(engine, "vllm:num_requests_running") == 0


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
async def test_caches_of_vllm_that_disagree_cost_nobody_an_answer(engine: VllmEngine, stream: bool) -> None:
    """The engine core forgets a picture that the front end believes it has; without a second try that is a 500."""
    asked = ([attached(0), "what is it?"], native(40 + stream))
    before = await ask(engine, *asked)
    await engine._llm.engine_core.reset_mm_cache_async()
    if stream:
        text = await streamed(engine, *asked)
        assert b'"error"' not in text
        assert b"data: [DONE]" in text
    else:
        after = await ask(engine, *asked)
        assert (after.status, after.tokens) == (200, before.tokens)


async def streamed(engine: VllmEngine, content: list[Any], *attachments: Any) -> bytes:
    body = {"model": "m", "stream": True, "max_completion_tokens": 8, "temperature": 0}
    parts = [{"type": "text", "text": part} if isinstance(part, str) else part for part in content]
    encoded = json.dumps(body | {"messages": [{"role": "user", "content": parts}]}).encode()
    headers = {"content-type": "application/json"}
    answer = engine.request("POST", "/v1/chat/completions", headers, encoded, attachments)
    return b"".join([item async for item in answer if isinstance(item, bytes)])


async def test_many_at_once_mix_nothing_up(engine: VllmEngine) -> None:
    """Answers of eight requests about four pictures equal those of one at a time."""
    numbers = [50, 51, 52, 53] * 2

    async def about(number: int) -> Answer:
        return await ask(engine, ["what is", attached(0), "there?"], native(number))

    together = await asyncio.gather(*(about(number) for number in numbers))
    alone = [await about(number) for number in numbers[:4]]
    assert [item.tokens for item in together] == [item.tokens for item in alone] * 2
    assert len({tuple(item.tokens) for item in alone}) == 4
