"""Our OpenAPI document against OpenAI's, for every route that both have: no field of theirs is missing here but
those that are listed, each with its reason.
"""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from openai_responses import RESPONSES
from openai_spec import SchemaFields, differences, openai_spec, request_schema, response_schemas

_METHODS = ("get", "post", "delete", "put", "patch")

NOT_SERVED = {
    # Chats that OpenAI stored with "store": nothing is stored of a chat here; /v1/responses stores.
    "GET /chat/completions",
    # Fine-tuned models of one's own.
    "DELETE /models/{}",
}
"""Methods of shared paths that are not offered."""

_NO_AUDIO_OUTPUT = "chat answers with text only: sound is made by /v1/audio/speech"
_NO_CUSTOM_TOOLS = "tools whose input is no JSON need grammars that the engine's tool parsers do not know"
_NO_BREAKPOINTS = "the engine finds by itself which beginnings of prompts are alike"
_NO_SCORES = "what is refused is the operator's choice, per tenant; scores are told by /v1/moderations"

_NO_SPEAKERS = "who speaks is not told apart: diarized_json is refused"
_NO_LOGPROBS = "Whisper tells how probable segments are, not tokens"
_NO_LANGUAGES = "a recording is taken to be in one language"
_BY_SECONDS = "transcribing is counted by seconds, as OpenAI counts Whisper's"
_TOKEN_USAGE = (
    "usage.input_token_details",
    "usage.input_tokens",
    "usage.output_tokens",
    "usage.total_tokens",
    "usage.type=tokens",
)

DIFFERENCES: dict[str, dict[str, str]] = {
    "POST /chat/completions request": {
        "audio": _NO_AUDIO_OUTPUT,
        "modalities[]=audio": _NO_AUDIO_OUTPUT,
        "messages[].audio": _NO_AUDIO_OUTPUT,
        "messages[].tool_calls[].custom": _NO_CUSTOM_TOOLS,
        "messages[].tool_calls[].type=custom": _NO_CUSTOM_TOOLS,
        "tool_choice.custom": _NO_CUSTOM_TOOLS,
        "tool_choice.type=custom": _NO_CUSTOM_TOOLS,
        "tools[].custom": _NO_CUSTOM_TOOLS,
        "tools[].type=custom": _NO_CUSTOM_TOOLS,
        "messages[].content[].prompt_cache_breakpoint": _NO_BREAKPOINTS,
        "prediction.content[].prompt_cache_breakpoint": _NO_BREAKPOINTS,
        "moderation": _NO_SCORES,
        "web_search_options": "nothing here searches the web",
    },
    "POST /chat/completions answer": {
        "choices[].message.audio": _NO_AUDIO_OUTPUT,
        "choices[].message.tool_calls[].custom": _NO_CUSTOM_TOOLS,
        "choices[].message.tool_calls[].type=custom": _NO_CUSTOM_TOOLS,
        "moderation": _NO_SCORES,
    },
    "POST /chat/completions events": {"moderation": _NO_SCORES},
    "POST /batches request": {
        "endpoint=/v1/completions": "the older text completions are not served",
        **dict.fromkeys(
            ("endpoint=/v1/images/edits", "endpoint=/v1/images/generations", "endpoint=/v1/videos"),
            "no pictures or videos are made here",
        ),
    },
    **RESPONSES,
    "POST /audio/transcriptions answer": {
        "!task=translate": "one schema for transcripts and translations",
        **dict.fromkeys(("segments[].speaker", "segments[].type"), _NO_SPEAKERS),
        "logprobs": _NO_LOGPROBS,
        "languages": _NO_LANGUAGES,
        **dict.fromkeys(_TOKEN_USAGE, _BY_SECONDS),
    },
    "POST /audio/transcriptions events": {
        "!usage.type=duration": _BY_SECONDS,
        "segment_id": _NO_SPEAKERS,
        "logprobs": _NO_LOGPROBS,
        "languages": _NO_LANGUAGES,
        **dict.fromkeys(_TOKEN_USAGE, _BY_SECONDS),
    },
    "POST /moderations answer": {
        f"!results[].category_applied_input_types.{name}[]=image": "a type says it once for all categories"
        for name in (
            "harassment",
            "harassment/threatening",
            "hate",
            "hate/threatening",
            "illicit",
            "illicit/violent",
            "sexual/minors",
        )
    },
}
"""What of theirs is missing on purpose, by route and side."""


def _plain(path: str) -> str:
    return re.sub(r"\{.*?\}", "{}", path)


@pytest.fixture(scope="module")
def theirs() -> dict[str, Any]:
    return openai_spec().document


def _shared(ours: dict[str, Any], theirs: dict[str, Any]) -> dict[str, tuple[str, str, str]]:
    """Routes of both documents: name, our path, their path, method."""
    known = {_plain(f"/v1{path}"): path for path in theirs["paths"] if "?" not in path}
    return {
        f"{method.upper()} {_plain(known[_plain(path)])}": (path, known[_plain(path)], method)
        for path in ours["paths"]
        if _plain(path) in known
        for method in _METHODS
        if method in ours["paths"][path] and method in theirs["paths"][known[_plain(path)]]
    }


def test_no_field_of_openais_is_missing(platform, theirs):
    ours = platform.app.openapi()
    shared = _shared(ours, theirs)
    assert len(shared) > 10
    missing: dict[str, list[str]] = {}
    used: dict[str, set[str]] = {}
    for name, (path, their_path, method) in shared.items():
        sides = {"request": (request_schema(theirs, their_path, method), request_schema(ours, path, method))}
        ours_by_kind = response_schemas(ours, path, method)
        for kind, schema in response_schemas(theirs, their_path, method).items():
            side = "events" if kind == "text/event-stream" else "answer"
            sides[side] = (schema, ours_by_kind.get(kind) or ours_by_kind.get("*/*"))
        for side, (their_schema, our_schema) in sides.items():
            if their_schema is None:
                continue
            found = differences(
                SchemaFields.of(theirs, their_schema),
                SchemaFields.of(ours, our_schema or {}),
                answered=side != "request",
            )
            key = f"{name} {side}"
            allowed = DIFFERENCES.get(key, {})
            used[key] = set(found) & set(allowed)
            if set(found) - set(allowed):
                missing[key] = sorted(set(found) - set(allowed))
    assert not missing, "\n".join(f"{k}: {v}" for k, v in missing.items())
    stale = {key: set(told) - used.get(key, set()) for key, told in DIFFERENCES.items()}
    assert not {key: names for key, names in stale.items() if names}, "listed as missing, and is there"


def test_no_parameter_of_openais_is_missing(platform, theirs):
    ours = platform.app.openapi()
    missing = {}
    for name, (path, their_path, method) in _shared(ours, theirs).items():
        wanted = {one["name"] for one in theirs["paths"][their_path][method].get("parameters", ())}
        given = {one["name"] for one in ours["paths"][path][method].get("parameters", ())}
        if wanted - given - PARAMETERS.get(name, set()):
            missing[name] = sorted(wanted - given)
    assert not missing, "\n".join(f"{k}: {v}" for k, v in missing.items())


PARAMETERS: dict[str, set[str]] = {}
"""Parameters of theirs that are missing on purpose."""


def test_no_method_of_openais_is_missing(platform, theirs):
    ours = platform.app.openapi()
    known = {_plain(f"/v1{path}"): path for path in theirs["paths"] if "?" not in path}
    missing = {
        f"{method.upper()} {_plain(known[_plain(path)])}"
        for path in ours["paths"]
        if _plain(path) in known
        for method in _METHODS
        if method in theirs["paths"][known[_plain(path)]]
        and method
        not in {m for other in ours["paths"] if _plain(other) == _plain(path) for m in ours["paths"][other]}
    }
    assert missing == NOT_SERVED


def test_every_route_tells_its_answers_and_errors(platform):
    document = platform.app.openapi()
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            where = f"{method.upper()} {path}"
            assert "default" in operation["responses"], where
            success = [answer for status, answer in operation["responses"].items() if status.startswith("2")]
            assert success, where
            for answer in success:
                for kind, content in answer.get("content", {}).items():
                    assert content.get("schema"), f"{where} does not tell what {kind} holds"
            assert operation["operationId"].isidentifier(), where
    names = [one["operationId"] for path in document["paths"].values() for one in path.values()]
    assert len(set(names)) == len(names)


def test_every_reference_leads_to_a_schema(platform):
    document = platform.app.openapi()
    wanted = set(re.findall(r'"#/components/schemas/([^"]+)"', json.dumps(document)))
    assert wanted - set(document["components"]["schemas"]) == set()
    assert "$defs" not in json.dumps(document)
