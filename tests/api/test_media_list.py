"""Media page by page: newest first, by kind, without what is none."""

from __future__ import annotations

import pytest
from fake_services import fake_mp4, fake_png, fake_wav

import serving.media_pages

PATH = "/v1/media"


async def stored(http, content: bytes, name: str) -> str:
    answer = await http.post("/v1/files", files={"file": (name, content)}, data={"purpose": "user_data"})
    assert answer.status_code == 200, answer.text
    return answer.json()["id"]


@pytest.fixture
async def ids(http) -> list[str]:
    """Newest first: a picture, a video, a text, a sound, a picture."""
    files = [
        (fake_png(), "a.png"),
        (fake_wav(), "b.wav"),
        (b"words", "c.txt"),
        (fake_mp4([{"cat": 0.9}]), "d.mp4"),
        (fake_png({"dog": 0.5}), "e.png"),
    ]
    return [await stored(http, *file) for file in files][::-1]


async def test_pages(http, ids):
    picture, video, _, sound, oldest = ids
    answer = (await http.get(PATH)).json()
    assert [one["id"] for one in answer["data"]] == [picture, video, sound, oldest]
    assert answer["data"][0] == {
        "id": picture,
        "object": "media.listed",
        "kind": "image",
        "bytes": len(fake_png({"dog": 0.5})),
        "content_type": "image/png",
        "filename": "e.png",
        "purpose": "user_data",
        "perceptual_hash": answer["data"][0]["perceptual_hash"],
        "created_at": answer["data"][0]["created_at"],
        "expires_at": None,
        "url": f"/v1/media/{picture}/content",
    }
    assert (answer["first_id"], answer["last_id"], answer["has_more"]) == (picture, oldest, False)
    seen, after = [], None
    while True:
        page = (await http.get(PATH, params={"limit": 1, **({"after": after} if after else {})})).json()
        seen += [one["id"] for one in page["data"]]
        after = page["last_id"]
        if not page["has_more"]:
            break
    assert seen == [picture, video, sound, oldest]


async def test_by_kind(http, ids):
    picture, video, _, sound, oldest = ids
    for kind, wanted in (("image", [picture, oldest]), ("audio", [sound]), ("video", [video])):
        answer = (await http.get(PATH, params={"kind": kind})).json()
        assert [one["id"] for one in answer["data"]] == wanted
    first = (await http.get(PATH, params={"kind": "image", "limit": 1})).json()
    assert (first["last_id"], first["has_more"]) == (picture, True)
    second = (await http.get(PATH, params={"kind": "image", "limit": 1, "after": picture})).json()
    assert ([one["id"] for one in second["data"]], second["has_more"]) == ([oldest], False)


async def test_a_page_looks_at_so_many_records_only(http, ids, monkeypatch):
    monkeypatch.setattr(serving.media_pages, "_MOST_LOOKED_AT", 3)
    sound = ids[3]
    first = (await http.get(PATH, params={"kind": "audio"})).json()
    assert (first["data"], first["last_id"], first["has_more"]) == ([], ids[2], True)
    second = (await http.get(PATH, params={"kind": "audio", "after": first["last_id"]})).json()
    assert ([one["id"] for one in second["data"]], second["has_more"]) == ([sound], False)


async def test_a_purpose_that_is_rare_is_not_looked_for_among_all_there_is(http, ids, monkeypatch):
    monkeypatch.setattr(serving.media_pages, "_MOST_LOOKED_AT", 3)
    rare = (
        await http.post("/v1/files", files={"file": ("r.png", fake_png())}, data={"purpose": "vision"})
    ).json()
    assert [one["id"] for one in (await http.get(PATH, params={"purpose": "vision"})).json()["data"]] == [
        rare["id"]
    ]
    page = (await http.get(PATH, params={"purpose": "batch"})).json()
    assert (page["data"], page["last_id"], page["has_more"]) == ([], ids[1], True)


async def test_inline_media_and_bad_requests(http, ids):
    content = {"query": {"type": "text", "content": "cat"}}
    await http.post("/v1/search", json=content)
    assert (await http.get(PATH, params={"purpose": "inline"})).json()["data"] == []
    for params, param in (({"after": "x"}, "after"), ({"kind": "text"}, "kind"), ({"limit": 101}, "limit")):
        refused = await http.get(PATH, params=params)
        assert (refused.status_code, refused.json()["error"]["param"]) == (400, param)
