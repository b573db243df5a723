"""Batches of documents over HTTP: what becomes of each, and what they leave behind."""

from __future__ import annotations

import json

from fake_services import fake_png, fake_wav
from search_requests import found, found_ids, text, upload

from search.errors import SearchUnavailable


async def test_a_batch_brings_files_texts_and_ids(platform, http):
    stored = await upload(http, fake_wav((0.0, 1.0, "good morning")))
    documents = [
        {"file": "f0", "id": "cat", "metadata": {"stars": 5}},
        {"file": "f1", "id": "noise"},
        {"file": "f2", "id": "empty"},
        {"text": "Tea is hot.", "id": "tea"},
        {"file_id": stored},
    ]
    files = {
        "f0": ("a.png", fake_png({"tabby": 0.9})),
        "f1": ("b.png", b"\x00\x01nothing"),
        "f2": ("c.png", b""),
    }
    answer = await http.post(
        "/v1/collections/mine/documents/batch",
        files=files,
        data={"request": json.dumps({"documents": documents})},
    )
    assert answer.status_code == 200, answer.text
    data = answer.json()["data"]
    assert [one["status"] for one in data] == ["indexed", "failed", "skipped", "indexed", "indexed"]
    assert [one["error"]["code"] for one in data[1:3]] == ["unsupported_media", "empty"]
    assert platform.perception.looks == [2]  # both media by one call
    hit = (await found(http, text("tabby"), collection="mine"))["results"][0]
    assert (hit["id"], hit["metadata"]["filename"]) == ("cat", "a.png")
    record = platform.media.get("default", data[0]["media_id"])
    assert (record.purpose, record.expires_at_seconds) == ("inline", None)
    assert await found_ids(http, text("good morning"), collection="mine", top_k=1) == [stored]


async def test_nothing_is_left_of_what_failed(platform, http):
    before = platform.stored_keys("blobs/")
    files = {
        "f0": ("a.png", b"\x89PNG\r\n\x1a\nbroken"),
        "f1": ("b.png", fake_png({"dot": 1.0}, size=(4, 4))),
    }
    body = {"documents": [{"file": "f0"}, {"file": "f1"}], "min_side": 10}
    answer = await http.post(
        "/v1/collections/mine/documents/batch", files=files, data={"request": json.dumps(body)}
    )
    assert [one["status"] for one in answer.json()["data"]] == ["failed", "skipped"]
    for prefix in ("blobs/", "files/", "refs/"):
        assert platform.stored_keys(prefix) == before


async def test_a_new_medium_that_is_deleted_while_its_rows_are_written_leaves_none(
    platform, http, monkeypatch
):
    search = platform.gateway.services.search
    add = search.add

    async def late(*arguments):
        """The rows are written when the deletion has looked for them already."""
        for record in platform.media.list("default", purpose="inline"):
            await platform.gateway.remover.remove("default", record.ref.id)
        return await add(*arguments)

    monkeypatch.setattr(search, "add", late)
    form = {"request": json.dumps({"documents": [{"file": "a", "id": "a"}, {"text": "tea", "id": "tea"}]})}
    files = {"a": ("a.png", fake_png({"tabby": 0.9}))}
    answer = await http.post("/v1/collections/c/documents/batch", data=form, files=files)
    assert [(one["status"], (one["error"] or {}).get("code")) for one in answer.json()["data"]] == [
        ("failed", "media_not_found"),
        ("indexed", None),
    ]
    assert platform.search.media_ids("default") == frozenset()


async def test_rows_of_a_deleted_medium_go_when_search_is_not_sure_of_them(platform, http, monkeypatch):
    picture = await upload(http, fake_png({"tabby": 0.9}))
    search = platform.gateway.services.search
    add = search.add

    async def lost(*arguments):
        await platform.gateway.remover.remove("default", picture) if platform.stored_files() else None
        await add(*arguments)
        raise SearchUnavailable("The answer was lost.")

    monkeypatch.setattr(search, "add", lost)
    body = {"documents": [{"file_id": picture}]}
    answer = await http.post("/v1/collections/c/documents/batch", json=body)
    assert answer.status_code == 503
    assert platform.search.media_ids("default") == frozenset()


async def test_a_replaced_document_leaves_no_medium(platform, http):
    form = {"request": json.dumps({"documents": [{"file": "a", "id": "x"}, {"file": "b", "id": "x"}]})}
    files = {name: (name, fake_png({name: 0.9})) for name in "ab"}
    answer = await http.post("/v1/collections/c/documents/batch", data=form, files=files)
    assert [one["status"] for one in answer.json()["data"]] == ["skipped", "indexed"]
    assert len(platform.stored_keys("blobs/")) == 1


async def test_one_file_may_be_two_documents(platform, http):
    documents = [{"file": "a", "id": "x"}, {"file": "a", "id": "y"}]
    form = {"request": json.dumps({"on_duplicate": "index", "documents": documents})}
    files = {"a": ("a.png", fake_png({"tabby": 0.9}))}
    answer = await http.post("/v1/collections/c/documents/batch", data=form, files=files)
    assert [(one["id"], one["status"]) for one in answer.json()["data"]] == [
        ("x", "indexed"),
        ("y", "indexed"),
    ]
    assert len(platform.stored_keys("blobs/")) == 1


async def test_a_files_name_has_its_length(http):
    form = {"request": json.dumps({"documents": [{"file": "a", "id": "x"}]})}
    files = {"a": ("a" * 256, fake_png({"tabby": 0.9}))}
    answer = await http.post("/v1/collections/c/documents/batch", data=form, files=files)
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "documents[0].file")
