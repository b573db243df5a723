"""Lines of a batch's files: what is sent of them, and what is wrong with them."""

from __future__ import annotations

import json

import pytest
from batch_files import EMBEDDINGS, batch_line
from hypothesis import example, given
from hypothesis import strategies as st
from starlette.datastructures import Headers

from serving.batches.answers import answered_line
from serving.batches.config import BatchConfig
from serving.batches.lines import check, lines_of, request_of
from serving.batches.own_app import OwnAnswer

GOOD = batch_line("a")
_PARTS = [
    b"\n",
    json.dumps(GOOD).encode() + b"\n",
    b'{"custom_id":"b","method":"POST","url":"/v1/embeddings","body":{"a":1}}\n',
    b'{"custom_id":',
    b'"body":{',
    b"}",
]


def problems(*lines: object, max_line_bytes: int = 10_000) -> list[tuple[int | None, str]]:
    data = b"\n".join(one if isinstance(one, bytes) else json.dumps(one).encode() for one in lines)
    checked = check(lines_of([data], max_line_bytes), EMBEDDINGS, max_line_bytes, BatchConfig())
    return [(one.line, one.code) for one in checked.problems]


@given(
    st.binary(max_size=60).map(lambda data: data.replace(b"x", b"\n")), st.integers(1, 9), st.integers(1, 8)
)
@example(b"\xef\xbb\xbf", 1, 3)
@example(b"\xef\xbb\xbf  \r\n{}\n\xef\xbb\xbf", 2, 8)
def test_lines_are_those_of_the_whole_however_it_comes(data: bytes, size: int, limit: int) -> None:
    pieces = [data[at : at + size] for at in range(0, len(data), size)]
    expected: list[tuple[int, int, bytes | None]] = []
    for place, line in enumerate(data.split(b"\n"), 1):
        if len(line) > limit:
            expected.append((len(expected), place, None))
            continue
        text = (line.removeprefix(b"\xef\xbb\xbf") if place == 1 else line).strip()
        if text:
            expected.append((len(expected), place, text))
    assert [(one.number, one.place, one.data) for one in lines_of(pieces, limit)] == expected


@pytest.mark.parametrize(
    ("line", "code"),
    [
        (b"[]", "invalid_json_line"),
        (b'"text"', "invalid_json_line"),
        (b"{} {}", "invalid_json_line"),
        (b'{"custom_id": "\xff"}', "invalid_json_line"),
        (b'{"body": {"a": NaN}}', "invalid_json_line"),
        (b'{"body": ' + b"[" * 100_000 + b"}", "line_too_long"),
        (b'{"body": ' + b"[" * 5000 + b"]" * 4000 + b"}", "invalid_json_line"),
        ({}, "missing_required_parameter"),
        ({**GOOD, "custom_id": None}, "missing_required_parameter"),
        ({**GOOD, "body": None}, "missing_required_parameter"),
        ({**GOOD, "custom_id": 5}, "invalid_custom_id"),
        ({**GOOD, "custom_id": ""}, "invalid_custom_id"),
        ({**GOOD, "custom_id": "a" * 513}, "invalid_custom_id"),
        ({**GOOD, "method": "post"}, "invalid_method"),
        ({**GOOD, "url": EMBEDDINGS + "?a"}, "mismatched_url"),
        ({**GOOD, "body": []}, "invalid_body"),
        ({**GOOD, "body": "text"}, "invalid_body"),
        ({**GOOD, "body": {"stream": True}}, "stream_not_supported"),
    ],
)
def test_what_is_wrong_with_a_line_is_told(line: object, code: str) -> None:
    assert problems(line) == [(1, code)]


@given(st.lists(st.binary(max_size=40) | st.sampled_from(_PARTS), max_size=12))
def test_whatever_a_file_holds_is_read_or_told(parts: list[bytes]) -> None:
    data = b"".join(parts)
    checked = check(lines_of([data], 500), EMBEDDINGS, 500, BatchConfig(max_errors=1000))
    lines = list(lines_of([data], 500))
    assert checked.total == len(lines)
    if not checked.problems:
        for line in lines:
            assert request_of(line).body.startswith(b"{")
    assert all(one.line is None or 0 < one.line <= data.count(b"\n") + 1 for one in checked.problems)


def test_what_is_right_passes() -> None:
    assert problems(b"\xef\xbb\xbf" + json.dumps(GOOD).encode(), {**GOOD, "custom_id": "a" * 512}) == []
    assert problems() == [(None, "empty_file")]
    assert problems(b"\n \n") == [(None, "empty_file")]
    line = json.dumps(GOOD).encode()
    assert problems(line, max_line_bytes=len(line)) == []
    assert problems(line, max_line_bytes=len(line) - 1) == [(1, "line_too_long")]


def test_a_body_is_sent_byte_for_byte() -> None:
    line = b'{"custom_id":"a","method":"POST","url":"/v1/embeddings","body":{"input" : "\\u00e9 1.50", "n":1.50}}'
    (found,) = lines_of([line], 1000)
    assert request_of(found).body == b'{"input" : "\\u00e9 1.50", "n":1.50}'


def test_an_answer_is_one_line_with_the_same_body_inside() -> None:
    body = b'{\n  "text": "two\\nlines \\u2028",\n  "n": 1.50,\n "usage": {"seconds": 3}}'
    kept = answered_line(4, 'na"me', OwnAnswer(200, Headers({"x-request-id": "req_1"}), body))
    assert kept.line.count(b"\n") == 1
    assert kept.line.startswith(b"+{")
    assert b'"n":1.50' in kept.line
    line = json.loads(kept.line[1:])
    assert line["custom_id"] == 'na"me'
    assert line["response"] == {"status_code": 200, "request_id": "req_1", "body": json.loads(body)}
    no_json = answered_line(0, "a", OwnAnswer(500, Headers(), b"plain \xff text"))
    assert no_json.line.startswith(b"-{")
    assert json.loads(no_json.line[1:])["response"]["body"] == "plain \ufffd text"


_TEXT = st.text(st.characters(codec="utf-8") | st.sampled_from("\x85\u2028\u2029\x1c"), max_size=12)


@given(_TEXT, _TEXT)
def test_an_answer_is_one_line_to_whoever_splits_lines(custom_id: str, said: str) -> None:
    body = json.dumps({"text": said}, ensure_ascii=False).encode()
    (kept,) = answered_line(0, custom_id, OwnAnswer(200, Headers(), body)).line.decode().splitlines()
    line = json.loads(kept[1:])
    assert (line["custom_id"], line["response"]["body"]) == (custom_id, {"text": said})
