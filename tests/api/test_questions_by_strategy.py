"""Questions about one video and one recording, however media reach the decoder."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fake_platform import Platform, build_platform, http_client
from fake_services import fake_mp4, fake_wav

from encoders.types import MediaKind
from fusion.config import NativeConfig
from fusion.picture_cost import PictureCost
from serving.config import GatewayConfig, ServedBridge
from serving.protocol.understanding import AudioUnderstanding, VideoAnalysis
from serving.services import NativeMedium, PromptEmbeddings

FILM = fake_mp4([{"cat": 0.9}, {"dog": 0.8}, {"cow": 0.7}], (0.5, 1.5, "look at that"))
SPEECH = fake_wav((0.0, 2.0, "good morning"), seconds=4.6)
VIDEO, AUDIO = "/v1/video/analyze", "/v1/audio/transcribe"

Build = Callable[..., Platform]


@pytest.fixture
def qformer(tmp_path: Path, config: GatewayConfig) -> Build:
    def build() -> Platform:
        bridge = ServedBridge("blip", "r1", config.chat_model.name, 4, config.vision_model)
        chat = replace(config.chat_model, fusion="qformer")
        return build_platform(tmp_path, replace(config, chat_model=chat, bridge=bridge))

    return build


@pytest.fixture
def native(tmp_path: Path, config: GatewayConfig) -> Build:
    def build(**limits: int) -> Platform:
        chat = replace(config.chat_model, fusion="native")
        looks = NativeConfig({MediaKind(kind): most for kind, most in limits.items()}, PictureCost(10))
        return build_platform(tmp_path, replace(config, chat_model=chat, native=looks))

    return build


async def ask(platform: Platform, path: str, **fields: Any) -> Any:
    file = {"video_file": ("a.mp4", FILM)} if path == VIDEO else {"audio_file": ("a.wav", SPEECH)}
    async with http_client(platform) as http:
        return await http.post(path, files=file, data=fields)


async def test_soft_tokens_of_the_frames_that_were_asked_for(qformer: Build) -> None:
    platform = qformer()
    answer = (await ask(platform, VIDEO, frame_sampling="scene", max_frames="2")).json()
    VideoAnalysis.model_validate(answer)
    assert [(sampling.method, sampling.max_frames) for sampling in platform.bridge.asked_sampling] == [
        ("scene", 2)
    ]
    assert [frame["time_seconds"] for frame in answer["frames"]] == [0.0, 1.0]
    assert answer["seconds_heard"] == 3.0
    (attachments,) = platform.engine.attachments
    assert [type(one) for one in attachments] == [PromptEmbeddings] * 2


async def test_frames_as_pictures_and_as_a_film(native: Build) -> None:
    for limits, count in (({"image": 8, "video": 0}, 2), ({"image": 8, "video": 1}, 1)):
        platform = native(**limits)
        answer = (await ask(platform, VIDEO, frame_sampling="keyframes", max_frames="2")).json()
        VideoAnalysis.model_validate(answer)
        assert [frame["reason"] for frame in answer["frames"]] == ["keyframes"] * 2
        (attachments,) = platform.engine.attachments
        assert len(attachments) == count
        assert all(isinstance(one, NativeMedium) for one in attachments)
        assert attachments[0].sampling is None or attachments[0].sampling.method == "keyframes"


async def test_what_the_decoder_does_not_take_is_told_of_the_video(native: Build) -> None:
    refused = await ask(native(image=0, video=0), VIDEO)
    assert refused.status_code == 400
    assert refused.json()["error"]["param"] == "video_file"


@pytest.mark.parametrize("hears", [0, 1])
async def test_the_transcript_is_there_whoever_listens(native: Build, hears: int) -> None:
    platform = native(image=8, audio=hears)
    answer = (await ask(platform, AUDIO, prompt="Sum it up.", include_timestamps="true")).json()
    AudioUnderstanding.model_validate(answer)
    assert (answer["text"], answer["answer"]) == ("good morning", "A cat sits.")
    assert answer["segments"] == [{"start": 0.0, "end": 2.0, "text": "good morning"}]
    (attachments,) = platform.engine.attachments
    assert len(attachments) == hears
    assert platform.perception.calls["transcribe"] == 1


async def test_speech_is_text_to_a_bridge_that_does_not_hear(qformer: Build) -> None:
    platform = qformer()
    answer = (await ask(platform, AUDIO, prompt="Sum it up.")).json()
    assert (answer["text"], answer["answer"]) == ("good morning", "A cat sits.")
    assert platform.engine.attachments == [()]
    assert "good morning" in str(platform.engine.requests[0]["messages"])
