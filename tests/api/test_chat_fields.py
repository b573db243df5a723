"""Every field of OpenAI's chat request: honoured, brought to the engine's form, or refused in OpenAI's words."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import openai
import pytest
from fake_platform import build_platform, http_client
from openai_spec import openai_spec

CHAT = "/v1/chat/completions"
CITY = {
    "type": "object",
    "properties": {"city": {"type": "string"}},
    "required": ["city"],
    "additionalProperties": False,
}
WEATHER = {"name": "weather", "description": "The weather.", "parameters": CITY}
TOOL = {"type": "function", "function": WEATHER}
CALL = {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Rome"}'}}
NAMED = {"type": "function", "function": {"name": "weather"}}
OURS = {"manymodal", "usage.media", "usage.prompt_tokens_details.video_tokens"}


def asking(**fields: Any) -> dict[str, Any]:
    return {"model": "default", "messages": [{"role": "user", "content": "Answer in JSON."}], **fields}


async def sent_for(http: Any, platform: Any, **fields: Any) -> dict[str, Any]:
    """What the engine gets."""
    answer = await http.post(CHAT, json=asking(**fields))
    assert answer.status_code == 200, answer.text
    return platform.engine.requests[-1]


async def test_plain_fields_reach_the_engine(http, platform):
    fields = {
        "n": 2,
        "stop": ["a", "b", "c", "d"],
        "seed": 7,
        "logprobs": True,
        "top_logprobs": 3,
        "logit_bias": {"17": -100, "18": 2.5},
        "frequency_penalty": -2,
        "presence_penalty": 2,
        "temperature": 0.5,
        "top_p": 0.9,
        "max_completion_tokens": 9,
        "reasoning_effort": "low",
        "response_format": {"type": "json_object"},
    }
    sent = await sent_for(http, platform, **fields)
    assert {name: sent[name] for name in fields} == fields


async def test_fields_that_mean_nothing_to_the_engine_do_not_reach_it(http, platform):
    plain = await sent_for(http, platform)
    sent = await sent_for(
        http,
        platform,
        user="u",
        store=True,
        metadata={"a": "b"},
        service_tier="auto",
        prediction={"type": "content", "content": "x"},
        prompt_cache_key="k",
        prompt_cache_retention="24h",
        safety_identifier="s",
        verbosity="low",
        modalities=["text"],
        stop=[],
        tool_choice="none",
    )
    assert set(sent) == set(plain)


async def test_no_other_field_reaches_the_engine(http, platform):
    for field in (
        "cache_salt",
        "chat_template",
        "chat_template_kwargs",
        "mm_processor_kwargs",
        "prompt_embeds",
        "image_embeds",
        "structured_outputs",
        "guided_json",
        "return_token_ids",
        "echo",
        "priority",
        "request_id",
        "kv_transfer_params",
        "vllm_xargs",
        "prompt_logprobs",
        "use_beam_search",
        "ignore_eos",
        "truncate_prompt_tokens",
        "allowed_token_ids",
        "documents",
        "audio",
        "web_search_options",
        "moderation",
    ):
        answer = await http.post(CHAT, json=asking(**{field: {}}))
        assert answer.status_code == 400
        assert answer.json()["error"]["code"] == "unknown_parameter"
        assert answer.json()["error"]["param"] == field
    assert platform.engine.requests == []


async def test_developers_speak_as_the_system(http, platform):
    messages = [{"role": "developer", "content": "Be brief."}, {"role": "user", "content": "Hi"}]
    sent = await sent_for(http, platform, messages=messages)
    assert [message["role"] for message in sent["messages"]] == ["system", "user"]


async def test_refusals_are_what_the_assistant_said(http, platform):
    messages = [
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": None, "refusal": "No."},
        {"role": "assistant", "content": [{"type": "refusal", "refusal": "Never."}]},
    ]
    sent = await sent_for(http, platform, messages=messages)
    assert [message["content"] for message in sent["messages"][1:]] == [
        "No.",
        [{"type": "text", "text": "Never."}],
    ]


async def test_several_greedy_answers_are_asked_for_with_hardly_any_chance(http, platform):
    assert 0 < (await sent_for(http, platform, n=2, temperature=0))["temperature"] < 0.05
    assert (await sent_for(http, platform, n=1, temperature=0))["temperature"] == 0


async def test_tools_that_say_nothing_of_parameters_have_none(http, platform):
    sent = await sent_for(http, platform, tools=[{"type": "function", "function": {"name": "now"}}])
    parameters = sent["tools"][0]["function"]["parameters"]
    assert parameters == {"type": "object", "properties": {}, "additionalProperties": False}


async def test_allowed_tools_are_the_tools_that_are_left(http, platform):
    other = {"type": "function", "function": {"name": "other"}}
    choice = {"type": "allowed_tools", "allowed_tools": {"mode": "required", "tools": [NAMED]}}
    sent = await sent_for(http, platform, tools=[other, TOOL], tool_choice=choice)
    assert [tool["function"]["name"] for tool in sent["tools"]] == ["weather"]
    assert sent["tool_choice"] == "required"


async def test_a_schema_that_says_nothing_is_some_json_object(http, platform):
    wanted = {"type": "json_schema", "json_schema": {"name": "x"}}
    sent = await sent_for(http, platform, response_format=wanted)
    assert sent["response_format"] == {"type": "json_object"}


async def test_functions_are_tools_and_their_calls_come_back_as_calls_of_functions(http, platform):
    messages = [
        {"role": "user", "content": "Rome?"},
        {"role": "assistant", "content": None, "function_call": CALL["function"]},
        {"role": "function", "name": "weather", "content": "20 C"},
    ]
    fields = {"messages": messages, "functions": [WEATHER], "function_call": {"name": "weather"}}
    answer = (await http.post(CHAT, json=asking(**fields))).json()
    sent = platform.engine.requests[-1]
    assert sent["tools"] == [TOOL]
    assert sent["tool_choice"] == NAMED
    assert sent["messages"][1]["tool_calls"][0]["function"] == CALL["function"]
    assert sent["messages"][2]["role"] == "tool"
    assert sent["messages"][2]["tool_call_id"] == sent["messages"][1]["tool_calls"][0]["id"]
    message = answer["choices"][0]["message"]
    assert message["function_call"] == {"name": "weather", "arguments": '{"city": "Paris"}'}
    assert message["content"] is None
    assert "tool_calls" not in message


async def test_whole_answers_are_as_openai_says(http, platform):
    spec = openai_spec()
    for fields in (
        {},
        {"n": 3, "metadata": {"a": "b"}},
        {"logprobs": True, "top_logprobs": 1},
        {"tools": [TOOL], "tool_choice": "required"},
        {"tools": [TOOL], "tool_choice": NAMED},
        {"functions": [WEATHER], "function_call": {"name": "weather"}},
    ):
        answer = (await http.post(CHAT, json=asking(**fields))).json()
        assert spec.problems("CreateChatCompletionResponse", answer) == []
        assert spec.unknown("CreateChatCompletionResponse", answer) <= OURS
        assert len(answer["choices"]) == fields.get("n", 1)
        assert answer.get("metadata") == fields.get("metadata")


async def test_calls_of_tools_in_the_clients_words(client):
    answer = await client.chat.completions.create(**asking(tools=[TOOL], tool_choice="required"))
    choice = answer.choices[0]
    assert choice.finish_reason == "tool_calls"
    assert choice.message.content is None
    assert choice.message.tool_calls[0].function.name == "weather"
    assert answer.usage.prompt_tokens_details.cached_tokens == 0
    assert answer.usage.completion_tokens_details.reasoning_tokens == 0


def _schema(**words: Any) -> dict[str, Any]:
    return {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": words}}}


def _strict(**words: Any) -> dict[str, Any]:
    wanted = _schema(**words)
    wanted["response_format"]["json_schema"]["strict"] = True
    return wanted


def _nested(depth: int) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "string"}
    for _ in range(depth - 1):
        schema = {
            "type": "object",
            "properties": {"a": schema},
            "required": ["a"],
            "additionalProperties": False,
        }
    return schema


def _said(*messages: dict[str, Any]) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": "Hi"}, *messages]}


_CALLED = {"role": "assistant", "content": None, "tool_calls": [CALL]}
_RESULT = {"role": "tool", "tool_call_id": "c1", "content": "20 C"}


_REFUSED: list[tuple[dict[str, Any], str, str]] = [
    ({"stop": ["a"] * 5}, "stop", "at most 4"),
    ({"stop": ""}, "stop", "at least 1"),
    ({"n": 0}, "n", "greater"),
    ({"n": 129}, "n", "less"),
    ({"top_logprobs": 2}, "top_logprobs", "'logprobs' is enabled"),
    ({"logprobs": True, "top_logprobs": 21}, "top_logprobs", "less"),
    ({"logit_bias": {"cat": 1}}, "logit_bias.cat", "pattern"),
    ({"logit_bias": {"1": 101}}, "logit_bias.1", "100"),
    ({"metadata": {str(n): "" for n in range(17)}}, "metadata", "at most 16"),
    ({"metadata": {"a": "x" * 513}}, "metadata.a", "at most 512"),
    ({"max_tokens": 1, "max_completion_tokens": 1}, "max_tokens", "at the same time"),
    ({"stream_options": {"include_usage": True}}, "stream_options", "'stream' is enabled"),
    ({"modalities": ["text", "audio"]}, "modalities[1]", "'text'"),
    ({"service_tier": "gold"}, "service_tier", "'auto'"),
    ({"tools": []}, "tools", "at least 1"),
    ({"tools": [{"type": "custom", "custom": {"name": "x"}}]}, "tools[0].type", "'function'"),
    ({"tools": [{"type": "function", "function": {"name": "a b"}}]}, "tools[0].function.name", "pattern"),
    ({"tools": [TOOL, TOOL]}, "tools", "same name"),
    ({"tool_choice": "auto"}, "tool_choice", "'tools' are specified"),
    ({"parallel_tool_calls": True}, "parallel_tool_calls", "'tools' are specified"),
    (
        {"tools": [TOOL], "tool_choice": {"type": "function", "function": {"name": "nope"}}},
        "tool_choice.function.name",
        "nope",
    ),
    ({"tools": [TOOL], "tool_choice": "maybe"}, "tool_choice", "'required'"),
    ({"functions": [WEATHER], "tools": [TOOL]}, "functions", "only 'tools'"),
    ({"function_call": "auto"}, "function_call", "'functions' are specified"),
    (
        {"tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "banana"}}}]},
        "tools[0].function.parameters",
        "function 'f'",
    ),
    (_schema(type="banana"), "response_format", "'type' must be one of"),
    (_schema(properties=3), "response_format", "'properties' must be an object"),
    (_schema(properties={"a": 3}), "response_format", "must be an object or a boolean"),
    (_schema(**{"$ref": "http://x.org/"}), "response_format", "'$ref' must point"),
    (_schema(required="a"), "response_format", "'required' must be an array"),
    (_schema(enum=["x" * 1000] * 121), "response_format", "too large"),
    (_schema(const=["x" * 120_001]), "response_format", "too large"),
    (_schema(anyOf=[{}] * 20_001), "response_format", "too large"),
    (_strict(type="array"), "response_format", "object"),
    (_strict(type="object", properties={}), "response_format", "'additionalProperties'"),
    (
        _strict(type="object", properties={"a": {}}, additionalProperties=False),
        "response_format",
        "Missing 'a'",
    ),
    (_strict(**CITY, allOf=[]), "response_format", "'allOf' is not permitted"),
    (_strict(**_nested(11)), "response_format", "10 deep"),
    (
        {"response_format": {"type": "json_object"}, "messages": [{"role": "user", "content": "Hi"}]},
        "messages",
        "the word 'json'",
    ),
    (_said(_RESULT), "messages[1].role", "preceding message"),
    (_said(_CALLED), "messages[1]", "c1"),
    (_said(_CALLED, {"role": "user", "content": "x"}), "messages[1]", "c1"),
    (_said(_CALLED, _RESULT, _RESULT), "messages[3].role", "preceding message"),
    (_said({"role": "assistant"}), "messages[1].content", "got null"),
    (_said({"role": "function", "name": "f", "content": "x"}), "messages[1].role", "'function_call'"),
]


async def test_what_does_not_go_together_is_refused(http, platform):
    for fields, param, words in _REFUSED:
        answer = await http.post(CHAT, json=asking(**fields))
        assert answer.status_code == 400, (fields, answer.text)
        error = answer.json()["error"]
        assert error["param"] == param, fields
        assert words in error["message"], fields
        assert error["type"] == "invalid_request_error"
    assert platform.engine.requests == []


async def test_what_is_at_the_edge_is_taken(http):
    for fields in (
        {"n": 128},
        {"logprobs": True, "top_logprobs": 0},
        {"metadata": {str(n) * 64: "x" * 512 for n in range(10)}},
        {"logit_bias": {"1": 100}},
        _strict(**_nested(10)),
        _strict(**CITY),
        _schema(enum=["x" * 999] * 120),
        _schema(type=["object", "null"], properties={"a": True}),
        _said(_CALLED, _RESULT),
        {"tools": [TOOL], "parallel_tool_calls": False},
    ):
        answer = await http.post(CHAT, json=asking(**fields))
        assert answer.status_code == 200, (fields, answer.text)


async def test_models_without_a_tool_parser_refuse_tools(tmp_path, config):
    without = replace(config, chat_model=replace(config.chat_model, takes_tools=False))
    platform = build_platform(tmp_path, without)
    async with http_client(platform) as http:
        answer = await http.post(CHAT, json=asking(tools=[TOOL]))
    assert answer.json()["error"]["code"] == "unsupported_parameter"


async def test_parsed_answers_of_the_official_client(client, platform):
    platform.engine.words = ('{"city":', ' "Rome"}')
    wanted = {"type": "json_schema", "json_schema": {"name": "x", "schema": CITY, "strict": True}}
    parsed = await client.chat.completions.parse(**asking(response_format=wanted))
    assert parsed.choices[0].message.content == '{"city": "Rome"}'


async def test_streamed_calls_are_put_together_by_the_official_client(client):
    async with client.chat.completions.stream(**asking(tools=[TOOL], tool_choice="required")) as stream:
        final = await stream.get_final_completion()
    call = final.choices[0].message.tool_calls[0]
    assert (call.function.name, call.function.arguments) == ("weather", '{"city": "Paris"}')
    assert final.choices[0].finish_reason == "tool_calls"


@pytest.mark.parametrize("name", ["default", "smollm2-135m-instruct"])
async def test_models_are_found_by_name_and_alias(client, name):
    spec = openai_spec()
    found = (await client.models.retrieve(name)).model_dump()
    assert spec.problems("Model", found) == []
    listed = [model.id async for model in client.models.list()]
    assert found["id"] in listed
    with pytest.raises(openai.NotFoundError) as missing:
        await client.models.retrieve("someone/else")
    assert missing.value.code == "model_not_found"


async def test_models_whose_name_has_a_slash(tmp_path, config):
    named = replace(config, chat_model=replace(config.chat_model, name="org/model:1"))
    async with http_client(build_platform(tmp_path, named)) as http:
        answer = await http.get("/v1/models/org/model:1")
        assert answer.json()["id"] == "org/model:1"
        encoded = await http.get("/v1/models/org%2Fmodel%3A1")
        assert encoded.json()["id"] == "org/model:1"


async def test_no_other_route_of_the_engines_is_served(http, platform):
    for path in (
        "/v1/completions",
        "/v1/chat/completions/render",
        "/v1/chat/completions/batch",
        "/v1/messages",
        "/v1/load_lora_adapter",
        "/v1/score",
        "/inference/v1/generate",
        "/tokenize",
        "/detokenize",
        "/pooling",
        "/score",
        "/rerank",
        "/invocations",
        "/collective_rpc",
        "/reset_prefix_cache",
        "/sleep",
        "/wake_up",
        "/server_info",
        "/version",
        "/load",
    ):
        for method in ("GET", "POST"):
            answer = await http.request(method, path, json=asking())
            assert answer.status_code == 404, path
            assert answer.json()["error"]["code"] == "unknown_url"
    assert platform.engine.requests == []
