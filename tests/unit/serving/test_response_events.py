"""Chats made into responses: what streams and whole answers bring that the fake engine does not."""

from __future__ import annotations

import json

import pytest

from serving.responses.answer import ended, output_of
from serving.responses.events import ResponseEvents
from serving.responses.ids import made_at_seconds, new_item_id, new_response_id, response_of_item
from serving.responses.messages import last_turns

RESPONSE = {"id": new_response_id(1_800_000_000.5), "output": [], "status": "in_progress"}


def chunk(delta: dict | None = None, reason: str | None = None, **fields: object) -> bytes:
    choices = [] if delta is None else [{"index": 0, "delta": delta, "finish_reason": reason}]
    return b"data: " + json.dumps({"choices": choices, **fields}).encode() + b"\n\n"


def call(index: int, arguments: str, name: str | None = None) -> dict:
    head = {} if name is None else {"id": f"call-{name}", "type": "function"}
    function = {"arguments": arguments} if name is None else {"name": name, "arguments": arguments}
    return {"tool_calls": [{"index": index, **head, "function": function}]}


def run(*chunks: bytes, cut: int | None = None) -> tuple[list[dict], ResponseEvents]:
    events = ResponseEvents(RESPONSE, 1, lambda event: event, obfuscated=False)
    stream = b"".join([*chunks, b"data: [DONE]\n\n"])
    size = cut or len(stream)
    sent = b"".join(events.feed(stream[at : at + size]) for at in range(0, len(stream), size))
    assert events.failure is None
    assert events.done
    return [json.loads(one.split(b"data: ")[1]) for one in sent.split(b"\n\n") if one], events


@pytest.mark.parametrize("cut", [None, 1, 7, 64])
def test_text_then_two_calls(cut):
    told, events = run(
        chunk({"role": "assistant", "content": ""}),
        chunk({"content": "Let me "}),
        chunk({"content": "see."}),
        chunk(call(0, "", "first")),
        chunk(call(0, '{"a":1}')),
        chunk(call(1, "{}", "second")),
        chunk({}, "tool_calls"),
        chunk(usage={"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}),
        cut=cut,
    )
    assert [event["sequence_number"] for event in told] == list(range(len(told)))
    assert [event["type"].removeprefix("response.") for event in told] == [
        "created",
        "in_progress",
        "output_item.added",
        "content_part.added",
        "output_text.delta",
        "output_text.delta",
        "output_text.done",
        "content_part.done",
        "output_item.done",
        "output_item.added",
        "function_call_arguments.delta",
        "function_call_arguments.done",
        "output_item.done",
        "output_item.added",
        "function_call_arguments.delta",
        "function_call_arguments.done",
        "output_item.done",
    ]
    assert [event["output_index"] for event in told[2:]] == [0] * 7 + [1] * 4 + [2] * 4
    text, first, second = events.output
    assert text["content"][0]["text"] == "Let me see."
    assert (first["name"], first["call_id"], first["arguments"]) == ("first", "call-first", '{"a":1}')
    assert (second["name"], second["arguments"]) == ("second", "{}")
    assert len({item["id"] for item in events.output}) == 3
    assert all(response_of_item(item["id"]) == RESPONSE["id"] for item in events.output)
    assert (events.reason, events.usage["total_tokens"]) == ("tool_calls", 5)
    assert all("in_progress" not in str(item) for item in events.output)


@pytest.mark.parametrize(("reason", "shown"), [("length", "max_output_tokens"), ("content_filter",) * 2])
def test_an_answer_that_is_cut_is_incomplete(reason, shown):
    told, events = run(chunk({"content": "One two"}), chunk({}, reason))
    assert told[-1]["item"]["status"] == "incomplete"
    response = ended(RESPONSE, events.output, events.reason, None, None, 5)
    assert (response["status"], response["incomplete_details"]) == ("incomplete", {"reason": shown})
    assert response["completed_at"] is None
    assert json.loads(events.closing(response).split(b"data: ")[1])["type"] == "response.incomplete"
    choice = {"message": {"content": "One two"}, "finish_reason": reason}
    assert output_of(RESPONSE["id"], 1, choice) == events.output


def test_an_empty_answer_is_an_empty_message():
    told, events = run(chunk({"role": "assistant", "content": ""}), chunk({}, "stop"))
    assert [event["type"] for event in told][2:4] == [
        "response.output_item.added",
        "response.content_part.added",
    ]
    assert events.output == output_of(
        RESPONSE["id"], 1, {"message": {"content": ""}, "finish_reason": "stop"}
    )


def test_what_is_raised_in_the_middle_comes_after_what_was_said():
    def rewrite(event: dict) -> dict:
        if "error" in event:
            raise ValueError
        return event

    events = ResponseEvents(RESPONSE, 1, rewrite, obfuscated=False)
    sent = events.feed(chunk({"content": "One"}) + chunk(error={}) + chunk({"content": "Two"}))
    assert b'"delta":"One"' in sent
    assert b"Two" not in sent
    assert isinstance(events.failure, ValueError)
    failed = events.failing("Sorry.", "code", None, RESPONSE).split(b"\n\n")
    assert [one.split(b"\n")[0] for one in failed[:-1]] == [b"event: error", b"event: response.failed"]


def test_delta_lengths_tell_little_when_they_are_filled_up():
    events = ResponseEvents(RESPONSE, 1, lambda event: event, obfuscated=True)
    sent = events.feed(b"".join(chunk({"content": "x" * n}) for n in range(1, 40)))
    deltas = [json.loads(one.split(b"data: ")[1]) for one in sent.split(b"\n\n") if b"delta" in one]
    assert {(len(one["delta"]) + len(one["obfuscation"])) % 16 for one in deltas} == {0}


def test_ids_tell_when_they_were_made_and_newer_ones_come_first():
    older, newer = new_response_id(1_000.0), new_response_id(1_001.25)
    assert newer < older
    assert made_at_seconds(newer) == 1_001.25
    assert response_of_item(new_item_id(newer, "function_call_output", 65_535)) == newer
    for other in ("msg_1", newer, f"msg_{newer[5:]}", f"rs_{newer[5:]}0000", f"msg_{newer[5:]}000G"):
        assert response_of_item(other) is None


def test_whole_turns_are_left_out_and_instructions_stay():
    def message(role: str, words: str) -> dict:
        return {"type": "message", "role": role, "content": [{"type": "input_text", "text": words}]}

    called = {"type": "function_call", "call_id": "1", "name": "f", "arguments": "{}"}
    gave = {"type": "function_call_output", "call_id": "1", "output": ""}
    rules, one, two, answer = (
        message("system", "rules"),
        message("user", "one"),
        message("user", "two"),
        message("assistant", "answer"),
    )
    items = [rules, one, called, gave, answer, two, answer]
    assert last_turns(items, 1) == [rules, two, answer]
    assert last_turns(items, 2) == [rules]
