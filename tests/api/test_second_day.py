"""What was perceived once survives a restart: a second day's first question encodes nothing."""

from __future__ import annotations

import base64

import pytest
from fake_platform import build_platform, http_client
from fake_services import fake_mp4, fake_png, fake_wav

FILM = fake_mp4([{"boat": 0.9}, {"cat": 0.8}], (0.5, 1.5, "rockets fly"))


def question(url: str, kind: str) -> dict:
    part = {"type": f"{kind}_url", f"{kind}_url": {"url": url}}
    return {"model": "default", "messages": [{"role": "user", "content": [part]}]}


@pytest.mark.parametrize(
    ("content", "kind", "tasks"),
    [
        (FILM, "video", {"frames", "transcript"}),
        (fake_wav((0.0, 1.0, "hello")), "audio", {"transcript"}),
        (fake_png({"cat": 0.9}), "image", {"labels", "ocr"}),
    ],
    ids=["video", "sound", "picture"],
)
@pytest.mark.parametrize("by", ["id", "data url"])
async def test_the_first_question_of_the_second_day(tmp_path, config, content, kind, tasks, by):
    prompts, media = [], []
    for day in (1, 2):
        platform = build_platform(tmp_path, config)
        async with http_client(platform) as http:
            if by == "id" and day == 1:
                answer = await http.post("/v1/media", files={"file": ("a", content)})
                url = answer.json()["id"]
            elif by == "data url":
                url = f"data:{kind}/x;base64,{base64.b64encode(content).decode()}"
            answer = await http.post("/v1/chat/completions", json=question(url, kind))
            assert answer.status_code == 200, answer.text
        media.append(answer.json()["manymodal"]["media"][0])
        prompts.append(platform.engine.requests[0]["messages"])
    assert platform.perception.calls == {}
    assert media[1]["cache"] == dict.fromkeys(tasks, "hit")
    assert answer.json()["usage"]["media"]["cache_misses"] == 0
    assert media[1]["id"] == media[0]["id"]
    assert prompts[0] == prompts[1]


async def test_searching_and_hearing_again_encodes_nothing_but_texts(tmp_path, config):
    for _ in (1, 2):
        platform = build_platform(tmp_path, config)
        async with http_client(platform) as http:
            await http.post(
                "/v1/audio/transcriptions", files={"file": ("a.mp4", FILM)}, data={"model": "whisper-1"}
            )
            url = f"data:video/mp4;base64,{base64.b64encode(FILM).decode()}"
            answer = await http.post("/v1/search", json={"query": {"type": "video", "content": url}})
            assert answer.status_code == 200
    assert platform.perception.calls == {}
