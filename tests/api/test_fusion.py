"""The strategies in the whole application: soft tokens and native media reach the engine, nothing twice."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import openai
import pytest
from fake_platform import Platform, build_platform, http_client, openai_client
from fake_services import fake_mp4, fake_png, fake_wav

from encoders.errors import CorruptMedia, EncoderOverloaded
from encoders.types import MediaKind
from fusion.config import NativeConfig
from fusion.picture_cost import PictureCost
from serving.config import GatewayConfig, ServedBridge
from serving.protocol.chat import ChatRequest
from serving.services import NativeMedium, PromptEmbeddings

MODEL = "smollm2-135m-instruct"
QUERIES = 4
CAT = fake_png({"cat": 0.8})
PARTY = fake_mp4([{"cat": 0.9}, {"cat": 0.8}, {"dog": 0.7}], (0.5, 1.5, "look at that"))
SILENT = fake_mp4([{"sea": 0.9}, {"sky": 0.8}], sound=False)

Build = Callable[..., Platform]


@pytest.fixture
def qformer(tmp_path: Path, config: GatewayConfig) -> Build:
    """A platform with a bridge; keywords are fields of ``GatewayConfig``, ``context_tokens`` is the model's."""

    def build(
        *, hears: bool = False, context_tokens: int = 2048, pictures: int | None = None, **fields: Any
    ) -> Platform:
        speech = config.speech_model if hears else None
        bridge = ServedBridge("blip", "r1", MODEL, QUERIES, config.vision_model, speech, pictures)
        chat = replace(config.chat_model, fusion="qformer", context_tokens=context_tokens)
        return build_platform(tmp_path, replace(config, chat_model=chat, bridge=bridge, **fields))

    return build


@pytest.fixture
def native(tmp_path: Path, config: GatewayConfig) -> Build:
    """A platform whose decoder takes so many ``images``, ``videos`` and ``sounds``."""

    def build(images: int = 8, videos: int = 0, sounds: int = 0, context_tokens: int = 2048) -> Platform:
        limits = {MediaKind.IMAGE: images, MediaKind.VIDEO: videos, MediaKind.AUDIO: sounds}
        chat = replace(config.chat_model, fusion="native", context_tokens=context_tokens)
        looks = NativeConfig(limits, PictureCost(10))
        return build_platform(tmp_path, replace(config, chat_model=chat, native=looks))

    return build


def url_of(content: bytes, content_type: str) -> str:
    return f"data:{content_type};base64,{base64.b64encode(content).decode()}"


def image(content: bytes = CAT, **more: str) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": url_of(content, "image/png"), **more}}


def video(content: bytes = PARTY) -> dict[str, Any]:
    return {"type": "video_url", "video_url": {"url": url_of(content, "video/mp4")}}


def sound(content: bytes) -> dict[str, Any]:
    return {"type": "audio_url", "audio_url": {"url": url_of(content, "audio/wav")}}


async def chat(platform: Platform, *parts: dict[str, Any], text: str = "What is it?", **options: Any) -> Any:
    async with openai_client(http_client(platform)) as client:
        messages = [{"role": "user", "content": [{"type": "text", "text": text}, *parts]}]
        return await client.chat.completions.create(model="default", messages=messages, **options)


def content(platform: Platform, request: int = -1) -> Any:
    return platform.engine.requests[request]["messages"][0]["content"]


def soft(platform: Platform, request: int = -1) -> list[PromptEmbeddings]:
    attached = platform.engine.attachments[request]
    assert all(isinstance(one, PromptEmbeddings) for one in attached)
    return list(attached)


def looked_at(platform: Platform, request: int = -1) -> list[NativeMedium]:
    attached = platform.engine.attachments[request]
    assert all(isinstance(one, NativeMedium) for one in attached)
    return list(attached)


async def test_a_picture_is_soft_tokens_in_front_of_the_question(qformer: Build) -> None:
    platform = qformer()
    answer = await chat(platform, image(fake_png({"cat": 0.8}, ("EXIT",))))
    assert content(platform) == [
        {"type": "attachment", "index": 0},
        {"type": "text", "text": 'Text written in the picture:\n"EXIT"\n\nWhat is it?'},
    ]
    (cat,) = soft(platform)
    assert (cat.vectors.shape, cat.vectors.dtype, cat.decoder) == ((QUERIES, 8), np.float32, MODEL)
    (medium,) = answer.model_extra["manymodal"]["media"]
    assert medium["cache"] == {"soft": "miss", "ocr": "miss"}
    assert (medium["views"], medium["ocr_lines"]) == (1, 1)
    assert "labels" not in medium
    details = answer.usage.prompt_tokens_details.model_dump()
    assert details["image_tokens"] == medium["prompt_tokens"] >= QUERIES
    assert "encode_image" not in platform.perception.calls


async def test_pictures_are_only_read_if_wanted(
    qformer: Build, config: GatewayConfig, tmp_path: Path
) -> None:
    silent = replace(config.fusion, read_pictures=False)
    written = image(fake_png({"cat": 0.8}, ("EXIT",)))
    platform = qformer(fusion=silent)
    answer = await chat(platform, written)
    assert content(platform) == [{"type": "attachment", "index": 0}, {"type": "text", "text": "What is it?"}]
    assert answer.model_extra["manymodal"]["media"][0]["cache"] == {"soft": "miss"}
    (tmp_path / "text").mkdir()
    described = build_platform(tmp_path / "text", replace(config, fusion=silent))
    await chat(described, written)
    assert "EXIT" not in content(described)
    for one in (platform, described):
        assert "read_text" not in one.perception.calls


async def test_different_pictures_are_different_tokens_in_their_places(qformer: Build) -> None:
    platform = qformer()
    dog = fake_png({"dog": 0.8})
    await chat(platform, image(), image(dog), image())
    first, second, third = soft(platform)
    assert np.array_equal(first.vectors, third.vectors)
    assert not np.array_equal(first.vectors, second.vectors)
    assert [part.get("index", part.get("text")) for part in content(platform)] == [
        "Picture 1:", 0, "Picture 2:", 1, "Picture 3:", 2, "What is it?",
    ]  # fmt: skip


@pytest.mark.parametrize(("detail", "views"), [("low", 1), ("auto", 1), ("high", 5)])
async def test_detail_chooses_the_views(qformer: Build, detail: str, views: int) -> None:
    platform = qformer()
    answer = await chat(platform, image(detail=detail))
    assert platform.bridge.asked_views == [views]
    assert soft(platform)[0].vectors.shape == (views * QUERIES, 8)
    assert answer.model_extra["manymodal"]["media"][0]["views"] == views


async def test_in_the_place_of_one_picture_stands_one_view_or_frame(qformer: Build) -> None:
    platform = qformer(pictures=1)
    await chat(platform, image(detail="high"))
    answer = await chat(platform, video(SILENT))
    assert [soft(platform, request)[0].vectors.shape for request in (0, 1)] == [(QUERIES, 8)] * 2
    (medium,) = answer.model_extra["manymodal"]["media"]
    assert (len(medium["frames"]), medium["left_out"]) == (1, ["1 of 2 frames of the video"])
    with pytest.raises(openai.BadRequestError, match="at most 1 pictures"):
        await chat(platform, image(), video())


async def test_a_video_is_frames_behind_their_times_with_what_is_said(qformer: Build) -> None:
    platform = qformer()
    answer = await chat(platform, video())
    texts = [part["text"] for part in content(platform) if part["type"] == "text"]
    assert texts == [
        "The video is 3.0 seconds long.\nt=0.0s",
        "t=1.0s",
        '0.5s to 1.5s: "look at that"\nt=2.0s',
        "What is it?",
    ]
    assert [one.vectors.shape for one in soft(platform)] == [(QUERIES, 8)] * 3
    (medium,) = answer.model_extra["manymodal"]["media"]
    assert [(frame["time_seconds"], frame["reason"]) for frame in medium["frames"]] == [
        (float(t), "uniform") for t in range(3)
    ]
    assert [frame["said"] for frame in medium["frames"]] == ["", "look at that", ""]
    assert medium["seconds_heard"] == 3.0
    assert medium["cache"] == {"soft": "miss", "transcript": "miss"}


async def test_a_small_context_gets_fewer_frames_and_the_answer_says_so(qformer: Build) -> None:
    platform = qformer(context_tokens=200)
    answer = await chat(platform, video(fake_mp4([{"cat": 0.9}] * 16, sound=False)), max_tokens=16)
    (medium,) = answer.model_extra["manymodal"]["media"]
    shown = len(medium["frames"])
    assert 1 < shown < 16
    assert len(soft(platform)) == shown
    assert medium["left_out"] == [f"{16 - shown} of 16 frames of the video"]
    with pytest.raises(openai.BadRequestError) as caught:
        await chat(platform, *[image()] * 4, text="long words " * 60)
    assert caught.value.code == "context_length_exceeded"


async def test_more_frames_than_the_context_holds_are_never_made(qformer: Build) -> None:
    platform = qformer(context_tokens=20)
    with pytest.raises(openai.BadRequestError, match="too long"):
        await chat(platform, video(SILENT), max_tokens=1)
    assert platform.bridge.asked_sampling[0].max_frames == 5


@pytest.mark.parametrize("hears", [True, False])
async def test_sound_is_its_transcript_and_soft_tokens_where_the_bridge_hears(
    qformer: Build, hears: bool
) -> None:
    platform = qformer(hears=hears)
    platform.bridge.hears = hears
    await chat(platform, sound(fake_wav((0.0, 2.0, "good morning"))))
    text = content(platform) if not hears else content(platform)[-1]["text"]
    assert '0.0s to 2.0s: "good morning"' in text
    assert len(soft(platform)) == hears
    assert platform.bridge.calls == ({"soft_audio": 1} if hears else {})


async def test_a_second_question_about_known_media_computes_nothing(qformer: Build) -> None:
    platform = qformer()
    await chat(platform, image(), video())
    calls = dict(platform.perception.calls), dict(platform.bridge.calls)
    answer = await chat(platform, image(), video(), text="And what else?")
    assert (platform.perception.calls, platform.bridge.calls) == calls
    for medium in answer.model_extra["manymodal"]["media"]:
        assert set(medium["cache"].values()) == {"hit"}
    assert [one.vectors.tobytes() for one in soft(platform, 0)] == [
        one.vectors.tobytes() for one in soft(platform, 1)
    ]
    before, after = content(platform, 0), content(platform, 1)
    assert before[:-1] == after[:-1]  # the prefix is the same, to be found in the engine's cache


async def test_other_views_of_a_known_picture_are_other_tokens(qformer: Build) -> None:
    platform = qformer()
    await chat(platform, image())
    await chat(platform, image(detail="high"))
    assert platform.bridge.calls == {"soft_image": 2}


async def test_soft_tokens_stream(qformer: Build) -> None:
    platform = qformer()
    async with openai_client(http_client(platform)) as client:
        messages = [{"role": "user", "content": [image(), {"type": "text", "text": "What?"}]}]
        stream = await client.chat.completions.create(model="default", messages=messages, stream=True)
        chunks = [chunk async for chunk in stream]
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices) == "A cat sits."
    assert chunks[-1].model_extra["manymodal"]["media"][0]["views"] == 1
    assert len(soft(platform)) == 1


async def test_a_client_that_leaves_cancels_the_bridge(qformer: Build) -> None:
    platform = qformer()
    platform.bridge.wait = asyncio.Event()
    asking = asyncio.create_task(chat(platform, image()))
    await platform.bridge.asked.wait()
    asking.cancel()
    await asyncio.wait({asking})
    await platform.bridge.cancelled.wait()
    assert not platform.engine.requests


@pytest.mark.parametrize("stream", [False, True])
async def test_pictures_that_only_the_decoder_opens_are_refused_by_their_place(
    native: Build, stream: bool
) -> None:
    """Its replica has them decoded, and does not know where they came from."""
    platform = native()
    platform.engine.failure = CorruptMedia("The picture is damaged.")
    for pictures, param in ((1, "messages[0].content[1]"), (2, "messages")):
        with pytest.raises(openai.BadRequestError) as caught:
            await chat(platform, *[image()] * pictures, stream=stream)
        assert (caught.value.param, caught.value.code) == (param, "corrupt_media")
        assert "The picture is damaged." in caught.value.message


async def test_tenants_share_no_prefixes_and_no_ids(native: Build, config: GatewayConfig) -> None:
    platform = native()
    gateway = platform.gateway
    raw = {"model": "default", "messages": [{"role": "user", "content": [image()]}]}
    prepared = [
        await gateway.chat.prepare(tenant, raw, ChatRequest.model_validate(raw)) for tenant in ("a", "b", "a")
    ]
    salts = [json.loads(one.body)["cache_salt"] for one in prepared]
    ids = [one.attachments[0].content_id for one in prepared if isinstance(one.attachments[0], NativeMedium)]
    for values in (salts, ids):
        assert values[0] == values[2] != values[1]
        assert all(len(value) == 64 for value in values)


@pytest.mark.parametrize("field", ["cache_salt", "prompt_embeds", "mm_processor_kwargs", "attachments"])
async def test_clients_cannot_reach_the_engines_fields(qformer: Build, field: str) -> None:
    platform = qformer()
    with pytest.raises(openai.BadRequestError):
        await chat(platform, image(), extra_body={field: "x"})
    assert not platform.engine.requests


@pytest.mark.parametrize(
    "part",
    [
        {"type": "attachment", "index": 0},
        {"type": "prompt_embeds", "data": "AA=="},
        {"type": "image_embeds", "image_embeds": "AA=="},
        {"type": "image_url", "image_url": {"url": "file-1"}, "uuid": "x"},
    ],
)
async def test_clients_cannot_send_attachments(qformer: Build, part: dict[str, Any]) -> None:
    platform = qformer()
    with pytest.raises(openai.BadRequestError):
        await chat(platform, part)
    assert not platform.engine.requests


async def test_a_decoder_that_looks_itself_gets_the_picture(native: Build) -> None:
    platform = native()
    answer = await chat(platform, image())
    (seen,) = looked_at(platform)
    assert (seen.kind, seen.max_side, seen.sampling) == (MediaKind.IMAGE, 1024, None)
    assert content(platform) == [{"type": "attachment", "index": 0}, {"type": "text", "text": "What is it?"}]
    (medium,) = answer.model_extra["manymodal"]["media"]
    assert (medium["views"], medium["cache"]) == (1, {})
    # Nothing is asked of the encoders but the header: the pixels are fetched by the engine itself.
    assert set(platform.perception.calls) == {"probe"}


@pytest.mark.parametrize(("detail", "side"), [("low", 512), ("high", 2048)])
async def test_detail_chooses_the_size(native: Build, detail: str, side: int) -> None:
    platform = native()
    await chat(platform, image(), image(detail=detail))
    first, second = looked_at(platform)
    assert (first.max_side, second.max_side) == (1024, side)
    assert first.content_id != second.content_id


async def test_frames_are_pictures_with_times_to_a_decoder_that_takes_no_films(native: Build) -> None:
    platform = native()
    answer = await chat(platform, video())
    frames = looked_at(platform)
    assert [frame.times_seconds for frame in frames] == [(0.0,), (1.0,), (2.0,)]
    assert {frame.kind for frame in frames} == {MediaKind.IMAGE}
    assert len({frame.content_id for frame in frames}) == 3
    assert all(frame.sampling and not frame.sampling.drop_near_duplicates for frame in frames)
    assert content(platform)[4]["text"] == '0.5s to 1.5s: "look at that"\nt=2.0s'
    (medium,) = answer.model_extra["manymodal"]["media"]
    assert [frame["time_seconds"] for frame in medium["frames"]] == [0.0, 1.0, 2.0]


async def test_a_film_goes_whole_to_a_decoder_that_takes_films(native: Build) -> None:
    platform = native(videos=1)
    await chat(platform, video())
    (film,) = looked_at(platform)
    assert (film.kind, film.times_seconds) == (MediaKind.VIDEO, (0.0, 1.0, 2.0))
    opening, attached, said, *_ = content(platform)
    assert opening["text"] == "The video is 3.0 seconds long."
    assert attached == {"type": "attachment", "index": 0}
    assert "look at that" in said["text"]


@pytest.mark.parametrize("listens", [True, False])
async def test_sound_goes_to_a_decoder_that_listens_and_else_is_written(native: Build, listens: bool) -> None:
    platform = native(sounds=int(listens))
    await chat(platform, sound(fake_wav((0.0, 2.0, "good morning"))))
    assert ("transcribe" in platform.perception.calls) is not listens
    assert [medium.kind for medium in looked_at(platform)] == ([MediaKind.AUDIO] if listens else [])
    assert ("good morning" in str(content(platform))) is not listens


async def test_more_than_the_decoder_takes_is_refused_and_frames_are_thinned_to_it(native: Build) -> None:
    platform = native(images=2)
    answer = await chat(platform, image(), video())
    assert len(looked_at(platform)) == 2
    frames = answer.model_extra["manymodal"]["media"][1]["frames"]
    assert [frame["time_seconds"] for frame in frames] == [1.0]
    for parts in ([image()] * 3, [image(), image(), video()]):
        with pytest.raises(openai.BadRequestError, match="at most 2") as caught:
            await chat(platform, *parts)
        assert caught.value.code == "limit_exceeded"


async def test_a_bridge_in_trouble_is_an_error_that_says_so(qformer: Build) -> None:
    platform = qformer()
    platform.bridge.failure = EncoderOverloaded("Too much waits for the bridge.")
    with pytest.raises(openai.InternalServerError, match="waits for the bridge") as caught:
        await chat(platform, image())
    assert caught.value.status_code == 503


async def test_the_list_of_models_says_how_media_reach_the_chat_model(qformer: Build) -> None:
    async with openai_client(http_client(qformer())) as client:
        (first, *_) = (await client.models.list()).data
    assert first.id == MODEL
    assert first.model_extra["manymodal"] == {
        "task": "chat", "aliases": ["default"], "fusion": "qformer", "bridge": "blip",
    }  # fmt: skip


async def test_ready_waits_for_the_bridge(qformer: Build) -> None:
    platform = qformer()
    async with http_client(platform) as http:
        assert (await http.get("/ready")).json()["deployments"]["bridge"] == "ready"
        platform.bridge.is_ready = False
        answer = await http.get("/ready")
    assert answer.status_code == 503
    assert answer.json()["deployments"]["bridge"] == "not ready"


@pytest.mark.parametrize("fusion", ["qformer", "native"])
def test_a_strategy_without_its_settings_is_refused_at_start(
    fusion: Any, tmp_path: Path, config: GatewayConfig
) -> None:
    chat_model = replace(config.chat_model, fusion=fusion)
    with pytest.raises(ValueError, match=f"'{fusion}' needs"):
        build_platform(tmp_path, replace(config, chat_model=chat_model))
