"""Whatever comes in, the answer is an OpenAI-shaped 4xx, and nothing of it stays behind."""

from __future__ import annotations

import base64
import io
import json

import pytest
from fake_services import fake_mp4, fake_png, fake_wav

CHAT = "/v1/chat/completions"
USER = {"role": "user", "content": "Hi"}


def data_url(content: bytes) -> str:
    return f"data:application/octet-stream;base64,{base64.b64encode(content).decode()}"


def with_part(part: object) -> dict:
    return {"model": "default", "messages": [{"role": "user", "content": [part]}]}


def with_image(url: object) -> dict:
    return with_part({"type": "image_url", "image_url": {"url": url}})


def with_audio(data: object) -> dict:
    return with_part({"type": "input_audio", "input_audio": {"data": data, "format": "wav"}})


def chat(**fields: object) -> dict:
    return {"model": "default", "messages": [USER], **fields}


async def refused(http, path: str, status: int = 400, **request: object) -> dict:
    answer = await http.post(path, **request)
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["x-request-id"]
    body = answer.json()
    assert set(body) == {"error"}
    error = body["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["message"]
    assert error["type"] == "invalid_request_error"
    assert error["code"] is None or isinstance(error["code"], str)
    assert len(answer.content) < 2000
    assert "Traceback" not in error["message"]
    return error


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"", "empty_body"),
        (b"   ", "empty_body"),
        (b"{", "invalid_json"),
        (b"nonsense", "invalid_json"),
        (b"[]", "invalid_json"),
        (b'"text"', "invalid_json"),
        (b"null", "invalid_json"),
        (b'{"model": NaN}', "invalid_json"),
        (b'{"model": "\xff"}', "invalid_json"),
        (b'{"model": "\\ud800"}', "invalid_json"),
        (b"[" * 50_000, "invalid_json"),
        (b'{"a":' * 30_000, "invalid_json"),
        (b"\x00" * 10, "invalid_json"),
        (b"{}", "missing_required_parameter"),
    ],
)
@pytest.mark.parametrize("path", [CHAT, "/v1/embeddings", "/v1/search", "/v1/collections/c/documents"])
async def test_bodies_that_are_no_json_object(http, path, content, code):
    if path.endswith("documents") and content == b"{}":
        code = "invalid_value"
    error = await refused(http, path, content=content, headers={"content-type": "application/json"})
    assert error["code"] == code


@pytest.mark.parametrize("path", [CHAT, "/v1/embeddings", "/v1/search", "/v1/media"])
async def test_other_content_types(http, path):
    error = await refused(http, path, 415, content=b"{}", headers={"content-type": "text/plain"})
    assert "application/json" in error["message"]


@pytest.mark.parametrize(
    ("body", "param", "words"),
    [
        ({"model": "default"}, "messages", "Missing required parameter"),
        ({"messages": [USER]}, "model", "Missing required parameter"),
        (chat(messages=[]), "messages", "at least 1"),
        (chat(messages="Hi"), "messages", "list"),
        (chat(messages=[None]), "messages[0]", ""),
        (chat(messages=[{}]), "messages[0]", "role"),
        (chat(messages=[{"role": "robot", "content": "x"}]), "messages[0]", "'user'"),
        (chat(messages=[{"role": 5, "content": "x"}]), "messages[0]", ""),
        (chat(messages=[{"role": "user"}]), "messages[0].content", "Missing"),
        (chat(messages=[{"role": "user", "content": 5}]), "messages[0].content", "string"),
        (chat(messages=[{"role": "user", "content": []}]), "messages[0].content", ""),
        (chat(messages=[{"role": "tool", "content": "x"}]), "messages[0].tool_call_id", "Missing"),
        (chat(messages=[{**USER, "cache_salt": "x"}]), "messages[0].cache_salt", "Unrecognized"),
        (chat(temperature="hot"), "temperature", "number"),
        (chat(temperature=3), "temperature", "2"),
        (chat(temperature=True), "temperature", ""),
        (chat(max_tokens=0), "max_tokens", "1"),
        (chat(max_tokens="many"), "max_tokens", "integer"),
        (chat(n=100_000), "n", "128"),
        (chat(stream="yes"), "stream", "boolean"),
        (chat(stream_options={"include_usage": True}), "stream_options", "stream"),
        (chat(seed=2**70), "seed", ""),
        (chat(response_format={"type": "structural_tag"}), "response_format", "json_schema"),
        (chat(modalities=["audio"]), "modalities[0]", "text"),
        (chat(messages=[{"role": "user", "content": "x" * 3000}]), "messages", "max_text_characters"),
        (with_part({"type": "text"}), "messages[0].content[0].text", "Missing"),
        (with_part({"type": "hologram"}), "messages[0].content[0]", "image_url"),
        (with_part({"text": "x"}), "messages[0].content[0]", "type"),
        (with_part("x"), "messages[0].content[0]", ""),
        (with_part({"type": "image_url", "image_url": "data:"}), "messages[0].content[0].image_url", ""),
        (with_image(7), "messages[0].content[0].image_url.url", "string"),
        (with_part({"type": "file", "file": {}}), "messages[0].content[0].file", "exactly one"),
        (
            with_part({"type": "file", "file": {"file_data": "http://x.org/a.png"}}),
            "messages[0].content[0].file.file_data",
            "data:",
        ),
    ],
)
async def test_chat_fields(http, platform, body, param, words):
    error = await refused(http, CHAT, json=body)
    assert error["param"] == param
    assert words in error["message"]
    assert platform.engine.requests == []


@pytest.mark.parametrize(
    "field",
    [
        *(
            "prompt_embeds",
            "mm_processor_kwargs",
            "chat_template",
            "chat_template_kwargs",
            "cache_salt",
            "uuid",
        ),
        *("add_generation_prompt", "continue_final_message", "documents", "priority", "request_id", "echo"),
        *("structured_outputs", "vllm_xargs", "kv_transfer_params", "top_k", "media_io_kwargs", "nonsense"),
    ],
)
async def test_fields_that_openai_does_not_have(http, field):
    error = await refused(http, CHAT, json=chat(**{field: {}}))
    assert error["message"] == f"Unrecognized request argument supplied: {field}"
    assert error["param"] == field


@pytest.mark.parametrize("kind", ["prompt_embeds", "image_embeds", "audio_embeds", "image_pil", "uuid"])
async def test_parts_that_only_the_engine_knows(http, kind):
    await refused(http, CHAT, json=with_part({"type": kind, kind: "AAAA", "data": "AAAA"}))


async def test_part_uuids(http):
    part = {"type": "image_url", "image_url": {"url": data_url(fake_png())}, "uuid": "mine"}
    error = await refused(http, CHAT, json=with_part(part))
    assert error["param"] == "messages[0].content[0].uuid"


async def test_media_in_other_roles(http):
    part = {"type": "image_url", "image_url": {"url": data_url(fake_png())}}
    for role in ("system", "developer", "assistant"):
        await refused(http, CHAT, json=chat(messages=[{"role": role, "content": [part]}]))


async def test_unknown_model(http):
    for path, body in ((CHAT, chat()), ("/v1/embeddings", {"input": "x"})):
        error = await refused(http, path, 404, json={**body, "model": "gpt-99"})
        assert error["code"] == "model_not_found"
        assert error["param"] == "model"
    form = {"model": "whisper-99"}
    error = await refused(
        http, "/v1/audio/transcriptions", 404, data=form, files={"file": ("a.wav", fake_wav())}
    )
    assert error["code"] == "model_not_found"


PNG = fake_png()


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (with_image("data:image/png;base64,@@@@"), "base64"),
        (with_image("data:image/png;base64," + base64.b64encode(PNG).decode()[:-1]), "base64"),
        (with_image("data:image/png;base64," + base64.b64encode(PNG).decode() + "\n"), "base64"),
        (with_image("data:image/png;base64,äöü="), "base64"),
        (with_image("data:image/png,rawbytes"), "data URL"),
        (with_image("data:;base64,"), "empty"),
        (with_image(""), ""),
        (with_image("file:///etc/passwd"), "data: URL"),
        (with_image("/etc/passwd"), "data: URL"),
        (with_image("ftp://example.org/a.png"), "data: URL"),
        (with_image(data_url(fake_mp4([{"cat": 0.9}]))), "video/mp4; an image was expected"),
        (with_image(data_url(b"Just some text.")), "not of a type that is read here"),
        (with_image(data_url(b"%PDF-1.7 ...")), "not of a type"),
        (with_image(data_url(b"<svg xmlns='http://www.w3.org/2000/svg'/>")), "not of a type"),
        (with_image(data_url(b"#EXTM3U\nfile:///etc/passwd")), "not of a type"),
        (with_image(data_url(b"\x89PNG\r\n\x1a\n truncated")), "damaged"),
        (with_image(data_url(b"\x07\x93" * 100)), "not of a type"),
        (with_image(data_url(fake_png(size=(10_000, 6_000)))), "max_pixels"),
        (with_image(data_url(b"\x89PNG\r\n\x1a\n" + bytes(100_000))), "max_media_bytes"),
        (with_audio("@@@"), "base64"),
        (with_audio(base64.b64encode(PNG).decode()), "image/png; audio was expected"),
        (with_audio(base64.b64encode(b"Just some text.").decode()), "not of a type that is read here"),
        (
            with_audio(base64.b64encode(fake_mp4([{"a": 0.5}])).decode()),
            "a video (video/mp4); audio was expected",
        ),
        (with_part({"type": "video_url", "video_url": {"url": data_url(PNG)}}), "a video was expected"),
        (with_part({"type": "file", "file": {"file_data": data_url(b"PK\x03\x04zip")}}), "not of a type"),
    ],
)
async def test_media_that_are_not_what_they_should_be(http, platform, body, words):
    error = await refused(http, CHAT, json=body)
    assert words in error["message"]
    assert error["param"].startswith("messages[0].content[0].")
    assert platform.stored_files() == 0
    assert platform.engine.requests == []


async def test_unknown_and_foreign_media_ids_answer_alike(http, platform):
    received = platform.media.receive("someone-else", io.BytesIO(PNG), "image/png", 1000)
    foreign = platform.media.commit(received, filename=None).ref.id
    missing = "file-" + "0" * 32
    answers = []
    for media_id in (foreign, missing, "file-x", "file-../../../etc/passwd"):
        answers.append(await refused(http, CHAT, 404, json=with_image(media_id)))
        for path in (f"/v1/media/{media_id}", f"/v1/media/{media_id}/content"):
            answer = await http.get(path)
            assert answer.status_code == 404
        assert (await http.delete(f"/v1/media/{media_id}")).status_code == 404
    assert all(answer == answers[0] for answer in answers)


async def test_too_many_media(http, platform):
    part = {"type": "image_url", "image_url": {"url": data_url(PNG)}}
    body = chat(messages=[{"role": "user", "content": [part] * 5}])
    error = await refused(http, CHAT, json=body)
    assert "max_media_per_request" in error["message"]
    assert platform.stored_files() == 0


async def test_huge_bodies(http):
    huge = json.dumps(chat(user="x" * 300_000)).encode()
    json_type = {"content-type": "application/json"}
    error = await refused(http, CHAT, 413, content=huge, headers=json_type)
    assert "max_body_bytes" in error["message"]

    async def in_pieces():
        for start in range(0, len(huge), 10_000):
            yield huge[start : start + 10_000]

    await refused(http, CHAT, 413, content=in_pieces(), headers=json_type)
    await refused(http, CHAT, 413, content=b"{}", headers={**json_type, "content-length": "999999999"})
    error = await refused(http, "/v1/media", 413, files={"file": ("a.png", bytes(2_000_000))})
    assert "max_media_bytes" in error["message"]


async def test_paths_and_methods_that_are_not_served(http):
    for path in (
        "/v1",
        "/v1/completions",
        "/v1/chat/completions/",
        "/v1/nothing",
        "/tokenize",
        "/v1/load_lora",
    ):
        assert (await refused(http, path, 404, json={}))["code"] == "unknown_url"
    answer = await http.get(CHAT)
    assert answer.status_code == 405
    assert answer.json()["error"]["code"] == "method_not_allowed"
    assert answer.headers["allow"] == "POST"
    assert (await refused(http, "/", 405, json={}))["code"] == "method_not_allowed"  # the playground is read


async def test_an_unexpected_failure_says_nothing(http, platform, caplog):
    platform.perception.failure = ZeroDivisionError("at /secret/place")
    answer = await http.post("/v1/embeddings", json={"model": "all-minilm-l6-v2", "input": "x"})
    assert answer.status_code == 500
    assert answer.json()["error"] == {
        "message": "The server had an error while processing your request.",
        "type": "server_error",
        "param": None,
        "code": "internal_error",
    }
    assert "secret" not in answer.text
    assert answer.headers["x-request-id"] in caplog.text
