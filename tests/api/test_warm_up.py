"""``POST /v1/media/warm_up``: what is known of media comes back into the caches, and nothing is computed."""

from __future__ import annotations

import io
import itertools
import threading

import pytest
from fake_platform import Platform, build_platform, http_client
from fake_services import fake_png, fake_wav
from fake_store import FakeTroubledStore

from storage.local import LocalObjectStore

WARM_UP = "/v1/media/warm_up"


@pytest.fixture
def store(tmp_path) -> FakeTroubledStore:
    return FakeTroubledStore(LocalObjectStore(tmp_path / "objects"))


@pytest.fixture
async def media_id(tmp_path, config, store) -> str:
    """A photo that another gateway on the same data was asked about."""
    async with http_client(build_platform(tmp_path, config, store)) as http:
        answer = await http.post("/v1/media", files={"file": ("a.png", fake_png({"cat": 0.9}, ("EXIT",)))})
        assert (await http.post("/v1/chat/completions", json=chat(answer.json()["id"]))).status_code == 200
        found: str = answer.json()["id"]
        return found


@pytest.fixture
def platform(tmp_path, config, store) -> Platform:
    return build_platform(tmp_path, config, store)


def chat(media_id: str) -> dict:
    part = {"type": "file", "file": {"file_id": media_id}}
    return {"model": "default", "messages": [{"role": "user", "content": [part]}]}


async def test_the_first_question_reads_no_artifact(media_id, http, platform, store):
    answer = await http.post(WARM_UP, json={"ids": [media_id]})
    assert answer.status_code == 200, answer.text
    artifacts = platform.stored_keys("derived/")
    assert len(artifacts) == 4  # header, fingerprint, labels, text
    found = answer.json()
    assert 0 < found.pop("loaded_bytes") <= platform.storage.derived.statistics().memory.size_bytes
    assert found == {"object": "media.warm_up", "loaded": 4, "complete": True, "not_found": []}
    store.calls.clear()
    assert (await http.post("/v1/chat/completions", json=chat(media_id))).status_code == 200
    assert store.calls == [("get", f"files/default/{media_id}.json")]
    assert not platform.perception.calls


async def test_again_loads_nothing(media_id, http):
    body = {"ids": [media_id, media_id]}
    assert (await http.post(WARM_UP, json=body)).json()["loaded"] == 4
    assert (await http.post(WARM_UP, json=body)).json()["loaded"] == 0


async def test_ids_that_lead_to_no_medium_are_named_alike_and_in_order(media_id, http, platform, store):
    other = await platform.gateway.admission.file_upload("other", io.BytesIO(fake_png()), None)
    damaged = (await http.post("/v1/media", files={"file": ("a.wav", fake_wav())})).json()["id"]
    store.put(f"files/default/{damaged}.json", b"{}")
    wrong = ["file-x", f"file-{0:032x}", other.record.ref.id, damaged]
    before = platform.storage.derived.statistics().memory.entries
    answer = await http.post(WARM_UP, json={"ids": [wrong[0], media_id, *wrong[1:], wrong[0]]})
    assert (answer.status_code, answer.json()["not_found"], answer.json()["loaded"]) == (200, wrong, 4)
    assert platform.storage.derived.statistics().memory.entries == before + 4


async def test_what_memory_cannot_hold_is_said(media_id, tmp_path, config):
    small = build_platform(tmp_path, config, memory_cache_bytes=300)
    async with http_client(small) as http:
        answer = (await http.post(WARM_UP, json={"ids": [media_id]})).json()
    assert answer["loaded"] < 4
    assert answer["complete"] is False


async def test_records_are_read_side_by_side(media_id, http, store):
    asked, fourth = itertools.count(1), threading.Event()

    def waits(operation: str, key: str) -> bool:
        """The first is not answered before there is a fourth."""
        if key.startswith("files/"):
            number = next(asked)
            if number == 4:
                fourth.set()
            return number == 1 and not fourth.wait(10)
        return False

    store.fails = waits
    ids = [media_id, *(f"file-{number:032x}" for number in range(15))]
    answer = await http.post(WARM_UP, json={"ids": ids})
    assert answer.status_code == 200, answer.text
    assert (answer.json()["loaded"], len(answer.json()["not_found"])) == (4, 15)


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({}, "ids"),
        ({"ids": []}, "ids"),
        ({"ids": ["file-x"] * 1001}, "ids"),
        ({"ids": "file-x"}, "ids"),
        ({"ids": [1]}, "ids[0]"),
        ({"ids": ["file-x"], "nonsense": 1}, "nonsense"),
    ],
)
async def test_bad_requests(http, body, param):
    answer = await http.post(WARM_UP, json=body)
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, param)
