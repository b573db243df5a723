"""Our Python client against the platform over real HTTP; every test with the synchronous and the async one."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx2
import openai
import pytest
from fake_platform import Platform, build_platform, serving
from fake_services import fake_mp4, fake_png, fake_wav
from served_models import moderation_models, served_models
from strict_client import Refusing, StrictAsyncOpenAI, StrictOpenAI
from waited_client import WaitedClient

from serving.client import AsyncManymodal, Manymodal
from serving.client.requests import Page
from serving.config import ChatModel, GatewayConfig
from serving.ingest.config import IngestConfig

CAT, BOAT = fake_png({"cat": 0.9}), fake_png({"boat": 0.9})
FILM = fake_mp4([{"boat": 0.9}, {"cat": 0.8}], (1.0, 1.5, "rockets fly"))
TALK = fake_wav((0.0, 2.0, "good morning"))


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Platform, Refusing, str]]:
    """One server for all tests: starting one takes longer than a test."""
    config = GatewayConfig(
        ChatModel("smollm2-135m-instruct", 2048, None),
        *served_models(),
        cache_secret=b"0123456789abcdef",
        allow_private_urls=True,
        ingest=IngestConfig(first_delay_seconds=0.001, commit_wait_seconds=0.01, poll_seconds=0.05),
        **moderation_models(),
    )
    platform = build_platform(tmp_path_factory.mktemp("platform"), config)
    refusing = Refusing(platform.app)
    with serving(replace(platform, app=refusing)) as url:
        yield platform, refusing, url


@pytest.fixture(params=["sync", "async"])
def client(house: tuple[Platform, Refusing, str], request: pytest.FixtureRequest) -> Iterator[Any]:
    """The client; its answers must be of our types, wholly."""
    refusing, url = house[1], house[2]
    refusing.times = 0
    options: Any = {"base_url": f"{url}/v1", "api_key": "none", "_strict_response_validation": True}
    unnamed: list[str] = []
    if request.param == "sync":
        used: Any = StrictOpenAI(**options)
        both: Any = Manymodal(used)
    else:
        used = StrictAsyncOpenAI(**options)
        both = WaitedClient(AsyncManymodal(used))
    used.unnamed = unnamed
    with both:
        yield both
    assert unnamed == []


@pytest.fixture
def refusing(client: Any, house: tuple[Platform, Refusing, str]) -> Refusing:
    house[1].seen.clear()
    return house[1]


@pytest.fixture
def collection(client: Any) -> Iterator[str]:
    """A collection of a cat, a boat, a film, a talk and a note."""
    documents = [
        {"file": ("cat.png", CAT), "id": "cat", "metadata": {"user_id": "u"}},
        {"file": ("boat.png", BOAT), "id": "boat"},
        {"file": ("film.mp4", FILM), "id": "film"},
        {"file": ("talk.wav", TALK), "id": "talk"},
        {"text": "A note on gardens.", "id": "note"},
    ]
    batch = client.documents.add_many("zoo", documents)
    assert [one.status for one in batch.data] == ["indexed"] * 5
    yield "zoo"
    client.collections.delete("zoo")


# media


def test_a_file_is_stored_known_and_deleted(client: Any, tmp_path: Path) -> None:
    path = tmp_path / "cat.png"
    path.write_bytes(CAT)
    with path.open("rb") as file:
        kept = [client.media.put(given) for given in (path, str(path), file, ("cat.png", CAT))]
    assert {medium.filename for medium in kept} == {"cat.png"}
    assert {(medium.kind, medium.bytes) for medium in kept} == {("image", len(CAT))}
    found = client.media.get(kept[0].id)
    assert found.id == kept[0].id
    assert client.media.content(found.id) == CAT
    assert client.media.thumbnail(found.id, size=128).startswith(b"\xff\xd8")
    link = client.media.link(found.id, expires_in_seconds=60)
    assert httpx2.get(link.url).content == CAT
    for medium in kept:
        assert client.media.delete(medium.id).deleted
    with pytest.raises(openai.NotFoundError) as missing:
        client.media.get(found.id)
    assert missing.value.code == "media_not_found"


def test_media_are_listed_and_read(client: Any) -> None:
    sign = client.media.put(("sign.png", fake_png({"sign": 0.9}, ("STOP", "HERE"))))
    film = client.media.put(("film.mp4", FILM))
    listed = [one.id for one in client.media.list(limit=1)]
    assert {sign.id, film.id} <= set(listed)
    assert film.id not in [one.id for one in client.media.list(kind="image")]
    assert [line.text for line in client.media.text(sign.id).lines] == ["STOP", "HERE"]
    assert client.media.thumbnail(film.id, time_seconds=1.5).startswith(b"\xff\xd8")


def test_media_by_url(client: Any, house: tuple[Platform, Refusing, str]) -> None:
    first = client.media.put_url("data:image/png;base64," + base64.b64encode(BOAT).decode())
    second = client.media.put_url(client.media.link(first.id).url, filename="boat.png")
    assert (first.kind, second.kind, second.filename) == ("image", "image", "boat.png")


def test_warming_up_any_number(client: Any, refusing: Refusing) -> None:
    medium = client.media.put(("a.png", CAT))
    missing = [f"file-{number:032x}" for number in range(1000)]
    refusing.seen.clear()
    report = client.media.warm_up([medium.id, *missing])
    assert (report.complete, report.not_found) == (True, missing)
    assert refusing.seen == ["POST /v1/media/warm_up"] * 2


def test_a_path_cannot_lead_elsewhere(client: Any, refusing: Refusing) -> None:
    for bad in ("", ".", ".."):
        with pytest.raises(ValueError, match="is no media_id"):
            client.media.get(bad)
    with pytest.raises(openai.NotFoundError):
        client.media.get("../files?x=1#y")
    assert refusing.seen == ["GET /v1/media/../files?x=1#y"]  # unquoted by the server: one name


# search, documents, collections


def test_search_by_words_and_media(client: Any, collection: str) -> None:
    answer = client.search("cat", collection=collection, search_modalities=["image"], top_k=1)
    assert [(hit.id, hit.type) for hit in answer.results] == [("cat", "image")]
    assert (answer.score.kind, answer.results[0].metadata["user_id"]) == ("cosine", "u")
    film = client.search("cat", collection=collection, search_modalities=["video"]).results[0]
    assert (film.id, film.matched_frame_times) == ("film", [0.0, 1.0])
    boat = client.media.put(("b.png", BOAT))
    found = client.search(
        [{"type": "image", "content": boat.id}, "boat"],
        collection=collection,
        filters={"user_id": {"exists": False}},
        include=["metadata", "vector"],
        score_threshold={"image": 0.5},
    )
    assert found.results[0].id == "boat"
    assert len(found.results[0].vector) == 384
    assert found.manymodal["media"][0]["id"] == boat.id
    words = client.search("gardens", collection=collection, mode="hybrid", weights={"text": 2.0})
    assert words.results[0].id == "note"


def test_all_pages_of_a_search(client: Any, collection: str, refusing: Refusing) -> None:
    refusing.seen.clear()
    hits = client.search.each("cat", collection=collection, top_k=2)
    assert refusing.seen == []
    assert sorted(hit.id for hit in hits) == ["boat", "cat", "film", "note", "talk"]
    assert refusing.seen == ["POST /v1/search"] * 3
    pages = list(client.search.each("cat", collection=collection, top_k=2).pages())
    assert [len(page.results) for page in pages] == [2, 2, 1]


def test_recommend(client: Any, collection: str) -> None:
    likes = client.recommend(["cat"], [{"id": "boat", "weight": 0.1}], collection=collection, top_k=1)
    assert [hit.id for hit in likes.results] == ["film"]
    assert client.recommend(user_id="u", collection=collection, top_k=1).results[0].id == "film"


def test_documents(client: Any, collection: str) -> None:
    medium = client.media.put(("c.png", CAT))
    added = client.documents.add(
        collection, media_id=medium.id, text="my cat", id="both", metadata={"year": 2026}
    )
    assert added.parts == 1
    assert set(added.weights) == {"text", "image"}
    note = client.documents.add(collection, text="Hello.")
    assert note.id.startswith("doc-")
    ids = [one.id for one in client.documents.list(collection, limit=2)]
    assert ids == sorted(["both", "cat", "boat", "film", "talk", "note", note.id])
    assert [one.id for one in client.documents.list(collection, filters={"year": 2026})] == ["both"]
    one = client.documents.get(collection, "film", include=["parts", "vector"])
    assert [part.start_seconds for part in one.parts] == [0.0, 1.0, 1.0]
    assert len(one.parts[0].vector) == 384
    few = client.documents.get_many(collection, ["talk", "nobody", "cat"], include=["metadata"])
    assert [one.id for one in few.data] == ["talk", "cat"]
    assert client.documents.get(collection, "cat").metadata["user_id"] == "u"
    alike = client.documents.near_duplicates(collection, "cat", threshold=0.9, limit=3)
    assert [(hit.id, hit.same_content) for hit in alike.data] == [("both", False)]
    gone = client.documents.delete(collection, "both")
    assert client.search("cat", collection=collection, min_version=gone.version).version >= gone.version
    with pytest.raises(openai.NotFoundError):
        client.documents.get(collection, "both")


def test_more_documents_than_a_batch_holds(client: Any, refusing: Refusing) -> None:
    texts = ({"text": f"Note {number}.", "id": f"n{number}"} for number in range(130))
    batch = client.documents.add_many("many", texts, metadata={"source": "test"})
    assert (len(batch.data), {one.status for one in batch.data}) == (130, {"indexed"})
    assert refusing.seen == ["POST /v1/collections/many/documents/batch"] * 2
    again = client.documents.add_batch("many", [{"file": ("x.png", b"\x89PNG\r\n\x1a\n broken"), "id": "x"}])
    assert [(one.status, one.error.code) for one in again.data] == [("failed", "corrupt_media")]
    assert client.collections.get("many").version == batch.version
    unnamed = client.documents.add_batch("many", [{"file": ("cat.png", CAT)}])
    assert unnamed.data[0].id.startswith("doc-")
    client.collections.delete("many")


def test_collections(client: Any) -> None:
    made = client.collections.create(
        "shelf", spaces=[{"name": "clip", "dimensions": 3}], index={"kind": "flat"}
    )
    assert [space.name for space in made.spaces] == ["default", "clip"]
    assert client.collections.point_alias("shelf", "live").collection == "shelf"
    assert client.collections.get("live").aliases == ["live"]
    assert "shelf" in [one.name for one in client.collections.list().data]
    client.documents.add("shelf", text="tea", id="tea", vectors={"clip": (0.0, 1.0, 0.0)})
    vector = {"type": "vector", "content": [0, 2, 0], "space": "clip"}
    assert client.search(vector, collection="live").results[0].id == "tea"
    groups = client.collections.clusters("shelf", 2, include=["metadata", "vector"])
    assert [(group.size, group.representatives[0].id) for group in groups.data] == [(1, "tea")]
    chart = client.collections.map("shelf", count=1)
    assert (chart.method, [place.id for place in chart.data]) == ("pca", ["tea"])
    assert client.collections.delete_alias("shelf", "live").deleted
    assert client.collections.delete("shelf").deleted


# ingest


def test_an_ingest_job(client: Any) -> None:
    items = [{"text": "Tea is hot.", "id": "tea"}, {"file_id": f"file-{0:032x}", "id": "gone"}]
    job = client.ingest.create("jobs", items=items, metadata={"source": "test"})
    done = client.ingest.wait(job.id, timeout_seconds=60, longest_pause_seconds=0.05)
    assert (done.status, done.counts.indexed, done.counts.failed) == ("completed", 1, 1)
    problems = list(client.ingest.errors(job.id, limit=1))
    assert [(one.id, one.code) for one in problems] == [("gone", "media_not_found")]
    assert job.id in [one.id for one in client.ingest.list(limit=1)]
    assert client.ingest.cancel(job.id).status == "completed"
    with pytest.raises(openai.ConflictError):
        client.with_options(max_retries=0).ingest.resume(job.id)
    anew = client.ingest.reembed("jobs", "jobs-anew", alias="jobs-live")
    assert client.ingest.wait(anew.id, timeout_seconds=60, longest_pause_seconds=0.05).kind == "reembed"
    assert client.collections.get("jobs-live").name == "jobs-anew"
    for name in ("jobs", "jobs-anew"):
        client.collections.delete(name)


def test_waiting_ends_in_time(client: Any, house: tuple[Platform, Refusing, str]) -> None:
    perception = house[0].perception
    medium = client.media.put(("never.png", fake_png({"never": 0.9})))
    perception.wait = asyncio.Event()  # nobody sets it
    try:
        job = client.ingest.create("never", items=[{"file_id": medium.id}])
        with pytest.raises(TimeoutError, match=f"{job.id} is still (queued|running) after 0.05 s"):
            client.ingest.wait(job.id, timeout_seconds=0.05)
        client.ingest.cancel(job.id)
        assert client.ingest.wait(job.id, timeout_seconds=60).status == "cancelled"
    finally:
        perception.wait = None


# video, audio


def test_video(client: Any, tmp_path: Path) -> None:
    path = tmp_path / "film.mp4"
    path.write_bytes(FILM)
    about = client.video.analyze(path, "What is it?", frame_sampling="uniform", max_frames=2, temperature=0)
    assert [frame.labels[0].text for frame in about.frames] == ["boat", "cat"]
    again = client.video.analyze(about.video_id, "And now?", max_frames=2)
    assert again.manymodal["media"][0]["cache"]["frames"] == "hit"
    chunks = list(client.video.stream(path, "What is it?", max_tokens=8))
    text = "".join(choice.delta.content or "" for chunk in chunks for choice in chunk.choices)
    assert text
    assert any((chunk.model_extra or {}).get("manymodal") for chunk in chunks)


def test_audio(client: Any) -> None:
    said = client.audio.transcribe(("talk.wav", TALK), include_timestamps=True)
    assert said.text.strip() == "good morning"
    assert (said.segments[0].end, said.words[0].word) == (2.0, "good")
    assert client.audio.transcribe(said.audio_id, "Sum it up.", seed=1).answer
    assert "00:00:02,000" in client.audio.transcribe_text(said.audio_id, format="srt")
    assert list(client.audio.stream(said.audio_id, "Sum it up."))
    with pytest.raises(openai.BadRequestError) as refused:
        client.audio.transcribe("nothing.wav")
    assert refused.value.code == "invalid_media_reference"


# the operator's


def test_pools_and_tenants(client: Any) -> None:
    assert client.pools().object == "list"
    tenant = "awaiting" if isinstance(client, WaitedClient) else "calling"
    assert client.tenants.get(tenant).is_default
    kept = client.tenants.put(tenant, limits={"collections": 3}, moderation={"places": []})
    assert (kept.is_default, kept.limits["collections"]) == (False, 3)
    assert client.tenants.delete_data(tenant).deleted


# habits of OpenAI's client


def test_refusals_are_retried_as_openais_client_does(client: Any, refusing: Refusing, tmp_path: Path) -> None:
    path = tmp_path / "cat.png"
    path.write_bytes(CAT)
    refusing.times = 2
    medium = client.media.put(path)
    assert (medium.bytes, refusing.seen) == (len(CAT), ["POST /v1/media"] * 3)
    refusing.times, refusing.seen[:] = 2, []
    models = client.openai.models.list()
    if isinstance(client, WaitedClient):
        client.finish(_awaited(models))
    assert len(refusing.seen) == 3
    refusing.times, refusing.seen[:] = 3, []
    with pytest.raises(openai.InternalServerError) as refused:
        client.collections.list()
    assert (refused.value.status_code, len(refusing.seen)) == (503, 3)
    refusing.times, refusing.seen[:] = 1, []
    with pytest.raises(openai.InternalServerError):
        client.with_options(max_retries=0).collections.list()
    assert len(refusing.seen) == 1


async def _awaited(paginator: Any) -> Any:
    return await paginator


def test_what_waiting_does_not_help_is_asked_once(client: Any, refusing: Refusing) -> None:
    client.collections.create("taken")
    refusing.seen.clear()
    with pytest.raises(openai.ConflictError) as taken:
        client.collections.create("taken", index={"kind": "flat"})
    assert (taken.value.code, refusing.seen) == ("collection_exists", ["POST /v1/collections"])
    client.collections.delete("taken")


def test_headers_and_fields_of_a_newer_server(client: Any, collection: str) -> None:
    response = client.search.raw("cat", collection=collection)
    assert response.headers["x-request-id"]
    parsed = response.parse()
    answer = client.finish(parsed) if isinstance(client, WaitedClient) else parsed
    assert answer.results[0].id == "cat"
    newer = type(answer.results[0]).construct(id="a", mood="sunny")
    assert newer.mood == "sunny"


def test_a_page_says_what_is_on_it() -> None:
    with pytest.raises(NotImplementedError):
        Page.construct().items()
    with pytest.raises(NotImplementedError):
        Page.construct().following()
