"""``/v1/responses`` through the official client: conversations, media, tools, and what is refused."""

from __future__ import annotations

import base64
import json
from dataclasses import replace

import openai
import pytest
from fake_platform import build_platform, http_client, openai_client
from fake_services import fake_mp4, fake_png, fake_wav
from fake_store import FakeTroubledStore
from openai_spec import openai_spec
from pydantic import BaseModel

from serving.moderation.policy import ModerationPolicy
from serving.protocol.response_objects import ResponseItemList, ResponseObject
from serving.tenant_settings import TenantSettings
from storage.local import LocalObjectStore

MODEL = "smollm2-135m-instruct"
OURS = {
    "manymodal",
    "usage.media",
    "store",
    "user",
}  # the last two are answered by OpenAI, too, and not in its document
WEATHER = {
    "type": "function",
    "name": "weather",
    "parameters": {"type": "object", "properties": {}},
    "strict": False,
}


def data_url(content: bytes, content_type: str = "image/png") -> str:
    return f"data:{content_type};base64,{base64.b64encode(content).decode()}"


def said(*content: dict, role: str = "user") -> list[dict]:
    return [{"role": role, "content": list(content)}]


def text(words: str) -> dict:
    return {"type": "input_text", "text": words}


def image(content: bytes) -> dict:
    return {"type": "input_image", "image_url": data_url(content), "detail": "high"}


def is_as_openai_says(response: dict) -> None:
    assert openai_spec().problems("Response", response) == []
    unknown = openai_spec().unknown("Response", response)
    modality = "usage.input_tokens_details."
    assert {path for path in unknown if not path.startswith((*OURS, modality))} == set()
    ResponseObject.model_validate(response)


async def test_a_text(client, http, platform):
    answer = await client.responses.create(
        model="default",
        input="Hi",
        instructions="Be brief.",
        temperature=0.5,
        top_p=0.9,
        max_output_tokens=16,
        metadata={"a": "b"},
        user="someone",
        reasoning={"effort": "low"},
        text={"verbosity": "low"},
    )
    assert answer.output_text == "A cat sits."
    assert (answer.model, answer.status, answer.metadata) == (MODEL, "completed", {"a": "b"})
    assert (answer.usage.input_tokens, answer.usage.output_tokens, answer.usage.total_tokens) == (200, 3, 203)
    assert answer.reasoning.effort == "low"
    sent = platform.engine.requests[0]
    assert sent["messages"] == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Hi"},
    ]
    assert (sent["temperature"], sent["top_p"], sent["max_completion_tokens"]) == (0.5, 0.9, 16)
    assert "cache_salt" in sent
    raw = await http.get(f"/v1/responses/{answer.id}")
    is_as_openai_says(raw.json())


async def test_a_conversation_goes_on(client, platform):
    first = await client.responses.create(model="default", input="One", instructions="Be brief.")
    platform.engine.words = ("Two",)
    second = await client.responses.create(model="default", input="More", previous_response_id=first.id)
    platform.engine.words = ("Three",)
    third = await client.responses.create(
        model="default", input=said(text("And?")), previous_response_id=second.id
    )
    assert third.previous_response_id == second.id
    messages = platform.engine.requests[-1]["messages"]
    assert [(one["role"], content_of(one)) for one in messages] == [
        ("user", "One"),
        ("assistant", "A cat sits."),
        ("user", "More"),
        ("assistant", "Two"),
        ("user", "And?"),
    ]
    # What is deleted is gone from where it was, not from what came after it.
    await client.responses.delete(first.id)
    with pytest.raises(openai.NotFoundError):
        await client.responses.retrieve(first.id)
    assert (await client.responses.retrieve(third.id)).output_text == "Three"
    await client.responses.create(model="default", input="Still?", previous_response_id=third.id)
    assert len(platform.engine.requests[-1]["messages"]) == 7
    with pytest.raises(openai.BadRequestError) as refused:
        await client.responses.create(model="default", input="?", previous_response_id=first.id)
    assert (refused.value.code, refused.value.param) == (
        "previous_response_not_found",
        "previous_response_id",
    )


def content_of(message: dict) -> str:
    content = message["content"]
    return content if isinstance(content, str) else "".join(part["text"] for part in content)


async def test_input_items_in_pages(client, http):
    first = await client.responses.create(model="default", input=said(text("a")) + said(text("b")))
    second = await client.responses.create(model="default", input="c", previous_response_id=first.id)
    pages = [item async for item in client.responses.input_items.list(second.id, limit=3, order="asc")]
    assert [item.content[0].text for item in pages] == ["a", "b", "A cat sits.", "c"]
    assert pages[2].id == first.output[0].id
    newest = await client.responses.input_items.list(second.id, limit=1)
    assert [item.content[0].text for item in newest.data] == ["c"]
    assert newest.has_more
    page = (await http.get(f"/v1/responses/{second.id}/input_items")).json()
    assert openai_spec().problems("ResponseItemList", page) == []
    assert openai_spec().unknown("ResponseItemList", page) == set()
    ResponseItemList.model_validate(page)
    nowhere = await http.get(f"/v1/responses/{second.id}/input_items?after=msg_none")
    assert (nowhere.status_code, nowhere.json()["error"]["param"]) == (400, "after")
    last = (await http.get(f"/v1/responses/{second.id}/input_items?after={page['last_id']}")).json()
    assert (last["data"], last["has_more"]) == ([], False)


async def test_not_stored(client, platform):
    answer = await client.responses.create(model="default", input="Hi", store=False)
    with pytest.raises(openai.NotFoundError):
        await client.responses.retrieve(answer.id)
    assert platform.stored_keys("responses/") == []


async def test_cancel_and_streaming_again_are_for_the_background(client, http):
    answer = await client.responses.create(model="default", input="Hi")
    with pytest.raises(openai.BadRequestError, match="Cannot cancel a synchronous response"):
        await client.responses.cancel(answer.id)
    with pytest.raises(openai.NotFoundError):
        await client.responses.cancel("resp_" + 32 * "0")
    assert (await http.get(f"/v1/responses/{answer.id}?stream=true")).status_code == 400
    assert (
        await http.get(f"/v1/responses/{answer.id}?include[]=reasoning.encrypted_content")
    ).status_code == 200


async def test_media_become_references_that_last_as_long(client, http, platform):
    uploaded = await client.files.create(file=("a.mp4", fake_mp4([{"dog": 0.9}])), purpose="user_data")
    sound = {"data": base64.b64encode(fake_wav((0.0, 1.0, "hello there"))).decode(), "format": "wav"}
    answer = await client.responses.create(
        model="default",
        input=said(
            text("What is this?"),
            image(fake_png({"tabby": 0.9}, ("EXIT",))),
            {"type": "input_file", "file_id": uploaded.id},
            {"type": "input_audio", "input_audio": sound},
            {"type": "input_file", "file_data": data_url(fake_png({"owl": 0.9})), "filename": "owl.png"},
        ),
    )
    prompt = platform.engine.requests[0]["messages"][0]["content"]
    assert all(word in prompt for word in ("tabby", "EXIT", "dog", "hello there", "owl", "What is this?"))
    assert [one["kind"] for one in answer.model_extra["manymodal"]["media"]] == [
        "image",
        "video",
        "audio",
        "image",
    ]
    is_as_openai_says((await http.get(f"/v1/responses/{answer.id}")).json())
    page = (await http.get(f"/v1/responses/{answer.id}/input_items")).json()
    assert openai_spec().problems("ResponseItemList", page) == []
    kept = page["data"][0]["content"]
    assert [part["type"] for part in kept] == ["input_text", "input_image", *(["input_file"] * 3)]
    assert kept[1]["detail"] == "high"
    assert kept[2]["file_id"] == uploaded.id
    assert kept[4]["filename"] == "owl.png"
    assert "base64" not in json.dumps(page)
    # A next turn looks at them again, and encodes nothing anew.
    looked = dict(platform.perception.calls)
    await client.responses.create(model="default", input="And now?", previous_response_id=answer.id)
    assert "tabby" in platform.engine.requests[1]["messages"][0]["content"]
    assert platform.perception.calls == looked


async def test_inline_media_live_as_long_as_the_response(tmp_path, config):
    now = 1_800_000_000.0
    day = 24 * 3600
    platform = build_platform(
        tmp_path, config, clock=lambda: now, inline_retention_seconds=day, response_retention_seconds=10 * day
    )
    async with openai_client(http_client(platform)) as client:
        await client.responses.create(model="default", input=said(image(fake_png({"cat": 0.8}))), store=False)
        (medium,) = platform.media.list("default", purpose="inline")
        assert medium.expires_at_seconds == now + day
        first = await client.responses.create(model="default", input=said(image(fake_png({"cat": 0.8}))))
        (medium,) = platform.media.list("default", purpose="inline")
        assert medium.expires_at_seconds >= now + 10 * day
        now += 9 * day
        second = await client.responses.create(model="default", input="?", previous_response_id=first.id)
        (medium,) = platform.media.list("default", purpose="inline")
        assert medium.expires_at_seconds >= now + 10 * day
        now += 2 * day
        with pytest.raises(openai.NotFoundError):
            await client.responses.retrieve(first.id)
        assert len(platform.stored_keys("responses/")) == 2
        await platform.gateway.housekeeping.round()
        assert [key.rpartition("/")[2] for key in platform.stored_keys("responses/")] == [f"{second.id}.json"]
        assert platform.stored_files() == 1
        now += 9 * day
        await platform.gateway.housekeeping.round()
        assert platform.stored_keys("responses/") == []


async def test_a_medium_that_was_deleted_is_told(client):
    uploaded = await client.files.create(file=("a.png", fake_png()), purpose="vision")
    about = said({"type": "input_image", "file_id": uploaded.id})
    answer = await client.responses.create(model="default", input=about)
    await client.files.delete(uploaded.id)
    with pytest.raises(openai.BadRequestError) as refused:
        await client.responses.create(model="default", input="?", previous_response_id=answer.id)
    assert (refused.value.code, refused.value.param) == ("media_not_found", "previous_response_id")
    with pytest.raises(openai.NotFoundError):
        await client.responses.create(model="default", input=about)


async def test_brought_bytes_that_were_damaged_are_stored_anew(client, platform):
    about = said(image(fake_png({"heron": 0.9})))
    await client.responses.create(model="default", input=about)
    (medium,) = platform.media.list("default", purpose="inline")
    platform.storage.objects.put(medium.ref.blob_key, b"x" * medium.ref.size_bytes)
    for key in platform.stored_keys("derived/"):
        platform.storage.objects.delete(key)
    await platform.storage.derived.forget(
        [key.rpartition("/")[2] for key in platform.stored_keys("derived/")]
    )
    answer = await client.responses.create(model="default", input=about)
    assert answer.status == "completed"


async def test_functions_are_called_and_answered(client, http, platform):
    asked = await client.responses.create(
        model="default", input="Weather?", tools=[WEATHER], tool_choice="required", parallel_tool_calls=False
    )
    (call,) = asked.output
    assert (call.type, call.name, call.arguments, call.status) == (
        "function_call",
        "weather",
        '{"city": "Paris"}',
        "completed",
    )
    is_as_openai_says((await http.get(f"/v1/responses/{asked.id}")).json())
    with pytest.raises(openai.BadRequestError, match="tool"):
        await client.responses.create(model="default", input="?", previous_response_id=asked.id)
    output = {"type": "function_call_output", "call_id": call.call_id, "output": '{"degrees": 20}'}
    answer = await client.responses.create(
        model="default", input=[output], previous_response_id=asked.id, tools=[WEATHER], tool_choice="none"
    )
    assert answer.output_text == "A cat sits."
    messages = platform.engine.requests[-1]["messages"]
    assert messages[1]["tool_calls"][0]["function"]["name"] == "weather"
    assert (messages[2]["role"], content_of(messages[2])) == ("tool", '{"degrees": 20}')
    # The same without the server's memory.
    spoken = [{"role": "user", "content": "Weather?"}, call.to_dict(), output]
    await client.responses.create(model="default", input=spoken, store=False)
    assert [one["role"] for one in platform.engine.requests[-1]["messages"]] == ["user", "assistant", "tool"]
    page = (await http.get(f"/v1/responses/{answer.id}/input_items")).json()
    assert openai_spec().problems("ResponseItemList", page) == []
    with pytest.raises(openai.BadRequestError) as refused:
        await client.responses.create(model="default", input=[{**output, "call_id": "none"}])
    assert refused.value.param == "input[0].call_id"


async def test_which_function_must_be_called(client, platform):
    other = {**WEATHER, "name": "other"}
    for choice in (
        {"type": "function", "name": "other"},
        {"type": "allowed_tools", "mode": "required", "tools": [{"type": "function", "name": "other"}]},
    ):
        answer = await client.responses.create(
            model="default", input="?", tools=[WEATHER, other], tool_choice=choice
        )
        assert answer.output[0].name == "other"
        assert answer.tool_choice.to_dict() == choice
    with pytest.raises(openai.BadRequestError) as refused:
        await client.responses.create(
            model="default", input="?", tools=[WEATHER], tool_choice={"type": "function", "name": "no"}
        )
    assert refused.value.param == "tool_choice"
    answer = await client.responses.create(model="default", input="?", tools=[], tool_choice="auto")
    assert "tools" not in platform.engine.requests[-1]


class Animal(BaseModel):
    name: str
    legs: int


async def test_an_answer_that_follows_a_schema(client, platform):
    platform.engine.words = ('{"name": "cat", ', '"legs": 4}')
    answer = await client.responses.parse(model="default", input="Which?", text_format=Animal)
    assert answer.output_parsed == Animal(name="cat", legs=4)
    sent = platform.engine.requests[0]["response_format"]
    assert sent["json_schema"]["name"] == "Animal"
    assert sent["json_schema"]["schema"]["required"] == ["name", "legs"]
    form = {"type": "json_schema", "name": "a", "schema": {"type": "nonsense"}, "strict": True}
    with pytest.raises(openai.BadRequestError) as refused:
        await client.responses.create(model="default", input="?", text={"format": form})
    assert refused.value.param.startswith("text.format")
    with pytest.raises(openai.BadRequestError, match="'input' must contain the word 'json'"):
        await client.responses.create(model="default", input="?", text={"format": {"type": "json_object"}})


async def test_log_probabilities(client, http):
    answer = await client.responses.create(
        model="default", input="Hi", include=["message.output_text.logprobs"], top_logprobs=1
    )
    (part,) = answer.output[0].content
    assert [one.token for one in part.logprobs] == ["A ", "cat ", "sits."]
    assert part.logprobs[0].top_logprobs[0].logprob == -0.5
    is_as_openai_says((await http.get(f"/v1/responses/{answer.id}")).json())


async def test_items_by_reference(client, platform):
    first = await client.responses.create(model="default", input="One")
    reference = {"type": "item_reference", "id": first.output[0].id}
    await client.responses.create(model="default", input=[reference, {"role": "user", "content": "Why?"}])
    assert [content_of(one) for one in platform.engine.requests[-1]["messages"]] == ["A cat sits.", "Why?"]
    for item_id in ("msg_" + 36 * "0", "msg_nobody"):
        with pytest.raises(openai.BadRequestError) as refused:
            await client.responses.create(model="default", input=[{"id": item_id}])
        assert (refused.value.code, refused.value.param) == ("item_not_found", "input[0].id")


async def test_many_references_read_a_response_once(client, platform, monkeypatch):
    first = await client.responses.create(model="default", input="One")
    store, read = platform.gateway.responses.store, list[str]()
    get = store.get
    monkeypatch.setattr(store, "get", lambda tenant, named: (read.append(named), get(tenant, named))[1])
    await client.responses.create(model="default", input=[{"id": first.output[0].id}] * 100 + said(text("?")))
    assert read == [first.id]


async def test_media_of_items_by_reference_are_kept(tmp_path, config):
    now, day = 1_800_000_000.0, 24 * 3600
    platform = build_platform(
        tmp_path, config, clock=lambda: now, inline_retention_seconds=day, response_retention_seconds=10 * day
    )
    async with openai_client(http_client(platform)) as client:
        first = await client.responses.create(model="default", input=said(image(fake_png({"cat": 0.8}))))
        (shown,) = (await client.responses.input_items.list(first.id)).data
        now += 9 * day
        second = await client.responses.create(model="default", input=[{"id": shown.id}])
        now += 9 * day
        await platform.gateway.housekeeping.round()
        await client.responses.create(model="default", input="Still?", previous_response_id=second.id)
    assert "cat" in platform.engine.requests[-1]["messages"][0]["content"]


async def test_truncation_leaves_out_the_oldest_turns(client, platform, config):
    answer = None
    for turn in range(3):
        previous = None if answer is None else answer.id
        words = f"turn {turn} " + "word " * 100
        answer = await client.responses.create(model="default", input=words, previous_response_id=previous)
    long = "word " * 100
    with pytest.raises(openai.BadRequestError) as refused:
        await client.responses.create(model="default", input=long, previous_response_id=answer.id)
    assert (refused.value.code, refused.value.param) == ("context_length_exceeded", "input")
    kept = await client.responses.create(
        model="default", input=long, previous_response_id=answer.id, truncation="auto"
    )
    texts = [content_of(one) for one in platform.engine.requests[-1]["messages"]]
    assert texts[0].startswith("turn 1")
    assert texts[-1] == long
    items = await client.responses.input_items.list(kept.id, order="asc", limit=100)
    assert items.data[0].content[0].text.startswith("turn 1")
    pictures = said(*(image(fake_png({f"cat{n}": 0.9})) for n in range(4)))
    many = await client.responses.create(model="default", input=pictures)
    last = await client.responses.create(
        model="default", input=pictures, previous_response_id=many.id, truncation="auto"
    )
    assert len(last.model_extra["manymodal"]["media"]) == 4


@pytest.mark.parametrize(
    ("fields", "param", "code"),
    [
        ({"conversation": "conv_1"}, "conversation", "unsupported_parameter"),
        ({"prompt": {"id": "p"}}, "prompt", "unsupported_parameter"),
        ({"background": True}, "background", "unsupported_parameter"),
        ({"context_management": [{"type": "compaction"}]}, "context_management", "unsupported_parameter"),
        ({"moderation": {"model": "m"}}, "moderation", "unsupported_parameter"),
        ({"tools": [WEATHER, {"type": "web_search"}]}, "tools[1].type", "unsupported_tool"),
        ({"max_output_tokens": 15}, "max_output_tokens", "invalid_value"),
        ({"cache_salt": "x"}, "cache_salt", "unknown_parameter"),
        ({"input": None}, "input", "missing_required_parameter"),
        ({"input": []}, "input", "missing_required_parameter"),
        ({"input": [{"type": "web_search_call", "id": "x"}]}, "input[0]", "invalid_value"),
        ({"input": said({"type": "output_text", "text": "x"})}, "input[0].content[0]", "invalid_value"),
        ({"input": said({"type": "input_image"})}, "input[0].content[0]", "invalid_value"),
        (
            {"input": said(text("?"), {"type": "input_image", "image_url": "data:image/png;base64,eA=="})},
            "input[0].content[1].image_url",
            "unsupported_media",
        ),
        (
            {"input": said({"type": "input_file", "file_url": "ftp://host/a"})},
            "input[0].content[0].file_url",
            "invalid_value",
        ),
        ({"input": said(*[image(fake_png())] * 5)}, "input", "limit_exceeded"),
        ({"input": "x" * 2001}, "input", "context_length_exceeded"),
        ({"stream_options": {"include_obfuscation": False}}, "stream_options", "invalid_value"),
        ({"metadata": {str(n): "" for n in range(17)}}, "metadata", "invalid_value"),
    ],
)
async def test_what_is_refused(http, platform, fields, param, code):
    answer = await http.post("/v1/responses", json={"model": "default", "input": "Hi", **fields})
    error = answer.json()["error"]
    assert (answer.status_code, error["param"], error["code"]) == (400, param, code), error
    assert error["type"] == "invalid_request_error"
    assert platform.engine.requests == []
    assert platform.stored_keys("responses/") == []


async def test_an_unknown_model(client):
    with pytest.raises(openai.NotFoundError) as refused:
        await client.responses.create(model="gpt-9", input="Hi")
    assert refused.value.code == "model_not_found"


async def test_what_the_engine_refuses_names_our_fields(http, platform):
    platform.engine.refusal = (400, {"message": "Too long.", "param": "max_completion_tokens"})
    answer = await http.post("/v1/responses", json={"model": "default", "input": "Hi"})
    assert answer.json()["error"]["param"] == "max_output_tokens"


async def test_a_store_that_fails_is_not_hidden(tmp_path, config):
    store = FakeTroubledStore(LocalObjectStore(tmp_path / "objects"))
    platform = build_platform(tmp_path, config, store)
    async with http_client(platform) as http:
        body = {"model": "default", "input": "Hi"}
        response_id = (await http.post("/v1/responses", json=body)).json()["id"]
        key = f"responses/default/{response_id}.json"
        store.put(key, store.get(key).replace(b"A cat", b"A dog"))
        damaged = await http.get(f"/v1/responses/{response_id}")
        assert (damaged.status_code, damaged.json()["error"]["code"]) == (500, "corrupt_object")
        assert (await http.delete(f"/v1/responses/{response_id}")).json()["deleted"] is True
        store.fails = lambda operation, key: operation == "put" and key.startswith("responses/")
        failed = await http.post("/v1/responses", json=body)
        assert (failed.status_code, failed.json()["error"]["code"]) == (503, "store_unavailable")
        assert (await http.post("/v1/responses", json={**body, "store": False})).status_code == 200


async def test_an_answer_that_is_filtered_is_incomplete(tmp_path, config):
    policy = ModerationPolicy(places=frozenset({"chat_output"}))
    defaults = TenantSettings(moderation=policy)
    platform = build_platform(tmp_path, replace(config, tenant_defaults=defaults))
    platform.engine.words = ("You ", "are ", "an ", "idiot.")
    async with openai_client(http_client(platform)) as client:
        answer = await client.responses.create(model="default", input="Hi")
        assert (answer.status, answer.incomplete_details.reason) == ("incomplete", "content_filter")
        assert "idiot" not in answer.to_json()
        stream = await client.responses.create(model="default", input="Hi", stream=True)
        events = [event async for event in stream]
        assert events[-1].type == "response.incomplete"
        assert events[-1].response.incomplete_details.reason == "content_filter"
        assert not any("idiot" in event.to_json() for event in events)
