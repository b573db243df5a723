"""``POST /v1/video/analyze``: a video by URL, data URL, id and upload, answered whole and as a stream."""

from __future__ import annotations

import base64
import json
from dataclasses import replace

import pytest
from fake_services import fake_mp4, fake_png, fake_wav

from encoders.types import FrameSampling
from serving.protocol.understanding import VideoAnalysis

FILM = fake_mp4([{"cat": 0.9}, {"cat": 0.8}, {"dog": 0.7}], (0.5, 1.5, "look at that"))
PATH = "/v1/video/analyze"


def data_url(content: bytes, content_type: str = "video/mp4") -> str:
    return f"data:{content_type};base64,{base64.b64encode(content).decode()}"


def events_of(body: str) -> list:
    return [json.loads(line[6:]) for line in body.splitlines() if line.startswith("data: {")]


@pytest.fixture
def sampled(platform, monkeypatch) -> list[FrameSampling]:
    """The samplings that the encoders are asked for."""
    asked: list[FrameSampling] = []
    encode = platform.perception.encode_video

    async def noted(media, sampling):
        asked.append(sampling)
        return await encode(media, sampling)

    monkeypatch.setattr(platform.perception, "encode_video", noted)
    return asked


async def test_the_answer_tells_what_was_looked_at_and_heard(http, platform, sampled):
    sent = {
        "video_url": data_url(FILM),
        "prompt": "Who is there?",
        "frame_sampling": "scene",
        "max_frames": 2,
    }
    got = await http.post(PATH, json={**sent, "max_tokens": 9, "temperature": 0, "seed": 3})
    assert got.status_code == 200, got.text
    answer = got.json()
    VideoAnalysis.model_validate(answer)
    assert answer["object"] == "video.analysis"
    assert answer["answer"] == "A cat sits."
    assert answer["finish_reason"] == "stop"
    assert (answer["duration_seconds"], answer["seconds_heard"]) == (3.0, 3.0)
    assert [(frame["time_seconds"], frame["reason"]) for frame in answer["frames"]] == [
        (0.0, "scene"),
        (1.0, "scene"),
    ]
    assert answer["frames"] == answer["manymodal"]["media"][0]["frames"]
    assert answer["video_id"] == answer["manymodal"]["media"][0]["id"]
    assert answer["usage"]["prompt_tokens_details"]["video_tokens"] > 0
    assert [(one.method, one.max_frames) for one in sampled] == [("scene", 2)]
    (asked,) = platform.engine.requests
    (message,) = asked["messages"]
    assert message["content"].endswith("Who is there?")
    assert "look at that" in message["content"]
    assert "dog" not in message["content"]
    assert (asked["max_tokens"], asked["temperature"], asked["seed"]) == (9, 0, 3)
    assert not asked.get("stream")


async def test_defaults_are_twenty_frames_evenly(http, platform, sampled, config):
    assert (await http.post(PATH, json={"video_url": data_url(FILM)})).status_code == 200
    (sampling,) = sampled
    assert (sampling.method, sampling.max_frames) == ("uniform", 20)
    assert sampling.max_side == config.sampling.max_side
    assert "in order" in platform.engine.requests[0]["messages"][0]["content"]


async def test_all_ways_in_meet_at_one_medium(http, platform):
    first = (await http.post(PATH, json={"video_url": data_url(FILM)})).json()
    media_id = first["video_id"]
    ways = (
        {"json": {"file_id": media_id}},
        {"json": {"video_url": media_id}},
        {"files": {"video_file": ("film.mp4", FILM)}},
        {"files": {"video_file": ("film.mp4", FILM)}, "data": {"max_frames": "20", "stream": "false"}},
        {"files": {"file_id": (None, media_id)}},
    )
    for way in ways:
        got = await http.post(PATH, **way)
        assert got.status_code == 200, got.text
        assert got.json()["video_id"] == media_id
        assert set(got.json()["manymodal"]["media"][0]["cache"].values()) == {"hit"}
    assert platform.perception.calls["encode_video"] == 1
    assert platform.stored_files() == 1


async def test_other_samplings_look_again(http, platform):
    for sampling in ("uniform", "keyframes", "scene", "uniform"):
        await http.post(PATH, json={"video_url": data_url(FILM), "frame_sampling": sampling})
    assert platform.perception.calls["encode_video"] == 3
    assert platform.perception.calls["transcribe"] == 1


async def test_a_stored_upload_that_is_gone_is_brought_anew(http, platform):
    first = (await http.post(PATH, files={"video_file": ("film.mp4", FILM)})).json()
    for key in platform.stored_keys("blobs/"):
        platform.storage.objects.delete(key)
    again = await http.post(
        PATH, files={"video_file": ("film.mp4", FILM)}, data={"frame_sampling": "keyframes"}
    )
    assert again.status_code == 200, again.text
    assert again.json()["frames"] != first["frames"]


async def test_an_animated_picture_is_a_video(http):
    moving = fake_png({"cat": 0.9}, frames=[{"cat": 0.9}, {"dog": 0.8}], sound=False)
    got = await http.post(PATH, files={"video_file": ("cat.png", moving)})
    assert got.status_code == 200, got.text
    assert len(got.json()["frames"]) == 2
    assert got.json()["seconds_heard"] == 0.0


async def test_streams_are_chats(http, platform):
    for way in (
        {"json": {"video_url": data_url(FILM), "stream": True}},
        {"files": {"video_file": ("film.mp4", FILM)}, "data": {"stream": "true"}},
    ):
        got = await http.post(PATH, **way)
        assert got.headers["content-type"].startswith("text/event-stream")
        assert got.headers["cache-control"] == "no-cache"
        assert got.text.endswith("data: [DONE]\n\n")
        events = events_of(got.text)
        assert all(event["object"] == "chat.completion.chunk" for event in events)
        said = "".join(
            choice["delta"].get("content") or "" for event in events for choice in event["choices"]
        )
        assert said == "A cat sits."
        (ending,) = [event for event in events if "manymodal" in event]
        assert [frame["time_seconds"] for frame in ending["manymodal"]["media"][0]["frames"]] == [
            0.0,
            1.0,
            2.0,
        ]
        assert events[-1]["usage"]["prompt_tokens_details"]["video_tokens"] > 0
    assert platform.engine.running == 0


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({}, "video_url"),
        ({"video_url": data_url(FILM), "file_id": "file-" + "0" * 32}, "video_url"),
        ({"video_url": ""}, "video_url"),
        ({"video_url": "ftp://example.com/a.mp4"}, "video_url"),
        ({"video_url": data_url(fake_png(), "image/png")}, "video_url"),
        ({"video_url": data_url(fake_wav())}, "video_url"),
        ({"video_url": data_url(FILM[:20])}, "video_url"),
        ({"video_url": data_url(FILM), "prompt": ""}, "prompt"),
        ({"video_url": data_url(FILM), "prompt": "x" * 2001}, "prompt"),
        ({"video_url": data_url(FILM), "frame_sampling": "fps"}, "frame_sampling"),
        ({"video_url": data_url(FILM), "max_frames": 0}, "max_frames"),
        ({"video_url": data_url(FILM), "max_frames": 129}, "max_frames"),
        ({"video_url": data_url(FILM), "max_frames": "5"}, "max_frames"),
        ({"video_url": data_url(FILM), "stream": "true"}, "stream"),
        ({"video_url": data_url(FILM), "temperature": 3}, "temperature"),
        ({"video_url": data_url(FILM), "prompt_embeds": "AAAA"}, "prompt_embeds"),
        ({"video_url": data_url(FILM), "cache_salt": "x"}, "cache_salt"),
    ],
)
async def test_refusals_name_the_field_that_came(http, platform, body, param):
    got = await http.post(PATH, json=body)
    assert got.status_code == 400, got.text
    error = got.json()["error"]
    assert error["param"] == param
    assert "messages[" not in error["message"]
    assert platform.engine.requests == []
    assert platform.stored_keys("blobs/") == [] or param == "prompt"


async def test_refusals_of_forms(http):
    for way, param in (
        ({"files": {"video_file": ("a.mp4", FILM)}, "data": {"max_frames": "many"}}, "max_frames"),
        ({"files": {"video_file": ("a.mp4", FILM)}, "data": {"stream": "perhaps"}}, "stream"),
        ({"files": {"video_file": ("a.mp4", FILM)}, "data": {"video_url": "http://x/"}}, "video_url"),
        ({"files": {"video_file": ("a.png", fake_png())}}, "video_file"),
        ({"files": {"film": ("a.mp4", FILM)}}, "film"),
        ({"files": {"video_file": (None, "text")}}, "video_file"),
    ):
        got = await http.post(PATH, **way)
        assert got.status_code == 400, got.text
        assert got.json()["error"]["param"] == param


async def test_what_the_encoders_refuse_names_the_video(http, platform, monkeypatch):
    from encoders.errors import CorruptMedia

    async def refuse(media, sampling):
        raise CorruptMedia("The video holds no frames.")

    monkeypatch.setattr(platform.perception, "encode_video", refuse)
    for way, param in (
        ({"json": {"video_url": data_url(FILM)}}, "video_url"),
        ({"files": {"video_file": ("a.mp4", FILM)}}, "video_file"),
    ):
        got = await http.post(PATH, **way)
        assert got.status_code == 400
        assert got.json()["error"] == {
            "message": f"The media in '{param}' was refused: The video holds no frames.",
            "type": "invalid_request_error",
            "param": param,
            "code": "corrupt_media",
        }


async def test_what_the_engine_refuses_names_the_prompt(http, platform):
    platform.engine.refusal = (400, {"message": "This model's maximum context length is 2048 tokens."})
    for stream in (False, True):
        got = await http.post(PATH, json={"video_url": data_url(FILM), "stream": stream})
        assert got.status_code == 400
        error = got.json()["error"]
        assert (error["param"], error["code"]) == ("prompt", "context_length_exceeded")


async def test_a_live_recording_is_as_long_as_it_was_found_to_be(http, platform, monkeypatch):
    probe = platform.perception.probe

    async def without_length(media):
        return replace(await probe(media), duration_seconds=None)

    monkeypatch.setattr(platform.perception, "probe", without_length)
    answer = (await http.post(PATH, json={"video_url": data_url(FILM)})).json()
    assert answer["duration_seconds"] == 3.0
    assert answer["usage"]["media"]["seconds"] == 3.0


async def test_unknown_ids_and_models_and_a_busy_engine(http, platform):
    missing = await http.post(PATH, json={"file_id": "file-" + "0" * 32})
    assert (missing.status_code, missing.json()["error"]["code"]) == (404, "media_not_found")
    model = await http.post(PATH, json={"video_url": data_url(FILM), "model": "gpt-9"})
    assert (model.status_code, model.json()["error"]["code"]) == (404, "model_not_found")
    wrong = await http.post(PATH, content=b"<xml/>", headers={"content-type": "text/xml"})
    assert wrong.status_code == 415
    platform.engine.refusal = (429, {"message": "busy"})
    busy = await http.post(PATH, json={"video_url": data_url(FILM), "stream": True})
    assert (busy.status_code, busy.json()["error"]["code"]) == (503, "engine_overloaded")
