"""OpenAI's Files API, through the official client."""

from __future__ import annotations

import time

import openai
import pytest
from fake_platform import http_client, openai_client
from fake_services import fake_mp4, fake_png, fake_wav

LINES = b'{"custom_id": "1"}\n{"custom_id": "2"}\n'
OTHERS = [
    (LINES, "application/jsonl"),
    (b'{"messages": "' + b"x" * 9000, "application/jsonl"),
    (b'{\n "messages": []\n}', "text/plain"),
    (b"[1]\n[2]\n", "text/plain"),
    (b"{" * 5000, "text/plain"),
    ("Grüße".encode(), "text/plain"),
    (b"%PDF-1.7\n\xff\xfe", "application/pdf"),
    (b"PK\x03\x04\x00\xff", "application/octet-stream"),
    (b"<script>alert(1)</script>", "text/plain"),
]


async def create(client, content=LINES, purpose="user_data", name="a.jsonl", **options):
    return await client.files.create(file=(name, content), purpose=purpose, **options)


async def test_a_file_object_is_openais(http, client):
    began = int(time.time())
    answer = await client.files.with_raw_response.create(file=("ü.jsonl", LINES), purpose="fine-tune")
    file = answer.http_response.json()
    assert file.pop("id").startswith("file-")
    assert began <= file.pop("created_at") <= time.time()
    assert file == {
        "object": "file",
        "bytes": len(LINES),
        "expires_at": None,
        "filename": "ü.jsonl",
        "purpose": "fine-tune",
        "status": "processed",
        "status_details": None,
    }
    created = answer.parse()
    assert await client.files.retrieve(created.id) == created
    assert await client.files.wait_for_processing(created.id) == created
    assert (await client.files.content(created.id)).content == LINES
    deleted = await client.files.delete(created.id)
    assert deleted.model_dump() == {"id": created.id, "object": "file", "deleted": True}
    for gone in (client.files.retrieve, client.files.content, client.files.delete):
        with pytest.raises(openai.NotFoundError):
            await gone(created.id)


@pytest.mark.parametrize("purpose", ["assistants", "batch", "fine-tune", "vision", "user_data", "evals"])
async def test_purposes(client, purpose):
    assert (await create(client, purpose=purpose)).purpose == purpose


@pytest.mark.parametrize(("content", "content_type"), OTHERS)
async def test_files_of_any_kind_are_kept_and_given_back(client, content, content_type):
    """The type is told by the bytes; the name says something else."""
    file = await create(client, content, name="picture.png")
    answer = (await client.files.content(file.id)).response
    assert (answer.content, answer.headers["content-type"]) == (content, content_type)
    assert answer.headers["content-disposition"] == "attachment; filename*=UTF-8''picture.png"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["content-security-policy"] == "default-src 'none'; sandbox"


async def test_media_among_files_are_known_everywhere(http, client):
    file = await create(client, fake_png({"tiger": 0.9}), "vision", "a.png")
    media = (await http.get(f"/v1/media/{file.id}")).json()
    assert (media["kind"], media["purpose"], len(media["perceptual_hash"])) == ("image", "vision", 16)
    part = {"type": "file", "file": {"file_id": file.id}}
    answer = await client.chat.completions.create(
        model="default", messages=[{"role": "user", "content": [part]}]
    )
    assert answer.model_extra["manymodal"]["media"][0]["id"] == file.id
    document = {"media_id": file.id, "id": "tiger"}
    assert (await http.post("/v1/collections/zoo/documents", json=document)).status_code == 200
    query = {"collection": "zoo", "query": {"type": "image", "content": file.id}}
    found = (await http.post("/v1/search", json=query)).json()
    assert [hit["media_id"] for hit in found["results"]] == [file.id]
    await client.files.delete(file.id)
    text = {"collection": "zoo", "query": {"type": "text", "content": "tiger"}}
    assert (await http.post("/v1/search", json=text)).json()["results"] == []


async def test_transcription_by_file_id(http, client, platform):
    sound = await create(client, fake_wav((0.0, 2.0, "good morning")), name="a.wav")
    stored = platform.stored_files()
    form = {"model": "whisper-1", "file_id": sound.id}

    async def transcribe(fields, **more):
        files = {name: (None, value) for name, value in fields.items()}
        return await http.post("/v1/audio/transcriptions", files=files | more)

    heard = (await transcribe(form)).json()
    assert (heard["text"], heard["manymodal"]["media"][0]["id"]) == ("good morning", sound.id)
    assert platform.stored_files() == stored
    picture = await create(client, fake_png())
    silent = await create(client, fake_mp4([{"cat": 0.9}], sound=False))
    text = await create(client)
    for file_id, status, code in (
        (picture.id, 400, "media_kind_mismatch"),
        (silent.id, 400, "no_audio"),
        (text.id, 400, "unsupported_media"),
        ("file-" + "0" * 32, 404, "media_not_found"),
        ("x", 404, "media_not_found"),
    ):
        answer = await transcribe({**form, "file_id": file_id})
        assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)
    both = await transcribe(form, file=("a.wav", fake_wav()))
    assert (both.status_code, both.json()["error"]["param"]) == (400, "file_id")


@pytest.mark.parametrize("broken", [b"\x89PNG\r\n\x1a\n broken", fake_png(size=(10_000, 10_000)), b""])
async def test_broken_media_are_refused_and_leave_nothing(client, platform, broken):
    with pytest.raises(openai.BadRequestError) as refused:
        await create(client, broken)
    assert refused.value.param == "file"
    assert platform.stored_keys() == []


@pytest.mark.parametrize(
    ("form", "param", "words"),
    [
        ({}, "purpose", "Missing required parameter"),
        ({"purpose": "pleasure"}, "purpose", "Supported values are: 'assistants'"),
        ({"purpose": "inline"}, "purpose", "Supported values"),
        ({"purpose": "batch_output"}, "purpose", "Supported values"),
        ({"purpose": "batch", "nonsense": "1"}, "nonsense", "Unrecognized"),
        ({"purpose": "batch", "expires_after[anchor]": "created_at"}, "expires_after.seconds", "Missing"),
        ({"purpose": "batch", "expires_after[seconds]": "3600"}, "expires_after.anchor", "Missing"),
        (
            {"purpose": "batch", "expires_after[anchor]": "now", "expires_after[seconds]": "3600"},
            "expires_after.anchor",
            "'created_at'",
        ),
        *(
            (
                {
                    "purpose": "batch",
                    "expires_after[anchor]": "created_at",
                    "expires_after[seconds]": seconds,
                },
                "expires_after.seconds",
                words,
            )
            for seconds, words in (
                ("3599", "3600"),
                ("2592001", "2592000"),
                ("soon", "integer"),
                ("", "integer"),
            )
        ),
        ({"purpose": "batch", "expires_after": "3600"}, "expires_after", ""),
    ],
)
async def test_bad_forms(http, platform, form, param, words):
    answer = await http.post("/v1/files", files={"file": ("a", LINES)}, data=form)
    assert answer.status_code == 400, answer.text
    error = answer.json()["error"]
    assert (error["type"], error["param"]) == ("invalid_request_error", param)
    assert words in error["message"]
    assert platform.stored_keys() == []


async def test_forms_without_a_file_or_a_name(http, platform):
    for request in (
        {"data": {"purpose": "batch"}},
        {"json": {"purpose": "batch"}},
        {"files": {"purpose": (None, "batch"), "file": (None, "text")}},
        {"files": {"purpose": ("a.txt", b"batch")}},
        {"files": {"file": ("x" * 256, LINES)}, "data": {"purpose": "batch"}},
        {"files": {"file": ("", LINES)}, "data": {"purpose": "batch"}},
    ):
        answer = await http.post("/v1/files", **request)
        assert answer.status_code == 400, answer.text
    assert platform.stored_keys() == []


async def test_expiry(client, tmp_path, platform):
    for purpose, options, lifetime in (
        ("user_data", {}, None),
        ("batch", {}, 30 * 24 * 3600),
        ("user_data", {"expires_after": {"anchor": "created_at", "seconds": 3600}}, 3600),
        ("batch", {"expires_after": {"anchor": "created_at", "seconds": 2_592_000}}, 2_592_000),
    ):
        file = await create(client, purpose=purpose, **options)
        if lifetime is None:
            assert file.expires_at is None
        else:
            assert file.expires_at - file.created_at == pytest.approx(lifetime, abs=5)


async def test_an_expired_file_is_not_found(client, platform):
    file = await create(client, expires_after={"anchor": "created_at", "seconds": 3600})
    record = platform.media.get("default", file.id)
    platform.media.extend(record, int(time.time()) + 1_000_000)
    assert (await client.files.retrieve(file.id)).expires_at == pytest.approx(time.time() + 1_000_000, abs=60)
    platform.media.extend(record, 1)
    with pytest.raises(openai.NotFoundError):
        await client.files.retrieve(file.id)
    assert [other.id async for other in client.files.list()] == []


async def test_lists_are_in_order_of_creation_and_paged(client):
    files = [await create(client, f"{n}".encode()) for n in range(5)]
    newest_first = [file.id for file in reversed(files)]
    assert [file.id async for file in client.files.list()] == newest_first
    assert [file.id async for file in client.files.list(order="asc")] == newest_first[::-1]
    assert [file.id async for file in client.files.list(limit=2)] == newest_first
    assert [file.id async for file in client.files.list(limit=2, order="asc")] == newest_first[::-1]
    page = await client.files.list(limit=2, after=newest_first[0])
    assert [file.id for file in page.data] == newest_first[1:3]
    assert page.model_extra["first_id"], page.model_extra["last_id"] == newest_first[1:3]
    assert page.has_more
    assert page.data[0] == files[3]
    # The place of a file that is gone is still a place.
    await client.files.delete(newest_first[2])
    page = await client.files.list(after=newest_first[2])
    assert ([file.id for file in page.data], page.has_more) == (newest_first[3:], False)


async def test_lists_by_purpose(client, platform):
    batch = await create(client, purpose="batch")
    other = await create(client, purpose="evals")
    await client.audio.transcriptions.create(model="whisper-1", file=("a.wav", fake_wav()))
    assert platform.stored_files() == 3
    assert [file.id async for file in client.files.list()] == [other.id, batch.id]
    assert [file.id async for file in client.files.list(purpose="batch")] == [batch.id]
    assert [file.id async for file in client.files.list(purpose="vision")] == []
    (inline,) = [file async for file in client.files.list(purpose="inline")]
    assert inline.filename == "a.wav"
    assert inline.expires_at is not None


async def test_an_empty_list(http):
    empty = {"object": "list", "data": [], "first_id": None, "last_id": None, "has_more": False}
    assert (await http.get("/v1/files")).json() == empty
    assert (await http.get(f"/v1/files?after=file-{'0' * 32}")).json() == empty


@pytest.mark.parametrize(
    ("query", "param"),
    [
        ("limit=0", "limit"),
        ("limit=10001", "limit"),
        ("limit=many", "limit"),
        ("order=newest", "order"),
        ("after=../x", "after"),
        ("after=", "after"),
    ],
)
async def test_bad_lists(http, query, param):
    answer = await http.get(f"/v1/files?{query}")
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, param)


async def test_sizes(platform_with):
    """A file may be larger than a medium may be; then nothing looks into it, and whoever asks is told so."""
    platform = platform_with(max_media_bytes=100, max_file_bytes=2000)
    async with http_client(platform) as http, openai_client(http) as client:
        large = fake_png({"cat": 0.8}, ("x" * 1000,))
        file = await create(client, large, "vision")
        assert (await client.files.content(file.id)).content == large
        assert platform.perception.calls == {}
        answer = await http.get(f"/v1/media/{file.id}")
        assert (answer.status_code, answer.json()["error"]["code"]) == (400, "limit_exceeded")
        assert "max_media_bytes" in answer.json()["error"]["message"]
        with pytest.raises(openai.BadRequestError, match="max_file_bytes") as refused:
            await create(client, b"x" * 2001)
        assert refused.value.param == "file"
        with pytest.raises(openai.APIStatusError, match="max_file_bytes") as refused:
            await create(client, b"x" * 2_000_000)
        assert refused.value.status_code == 413
        assert [one.id async for one in client.files.list()] == [file.id]


async def test_text_in_chat_is_refused_in_words(client):
    file = await create(client)
    part = {"type": "file", "file": {"file_id": file.id}}
    with pytest.raises(openai.BadRequestError, match="application/jsonl") as refused:
        await client.chat.completions.create(model="default", messages=[{"role": "user", "content": [part]}])
    assert refused.value.param == "messages[0].content[0].file.file_id"
