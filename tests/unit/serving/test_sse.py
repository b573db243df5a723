"""The rewriter passes bytes through, whatever the cuts, and sees what it must see."""

from __future__ import annotations

import itertools
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.sse import DONE, EventRewriter


def event(**body: object) -> bytes:
    return b"data: " + json.dumps(body, separators=(",", ":")).encode() + b"\n\n"


PLAIN = event(
    choices=[{"delta": {"content": 'he said "finish_reason":"stop" and "usage":{'}, "finish_reason": None}]
)
END = event(choices=[{"delta": {}, "finish_reason": "stop"}])
USAGE = event(choices=[], usage={"prompt_tokens": 1})


def refuse(_: object) -> None:
    raise AssertionError("parsed an event of no interest")


def test_plain_events_are_never_parsed_nor_copied():
    rewriter = EventRewriter(refuse)
    assert rewriter.feed(PLAIN) is PLAIN
    assert rewriter.feed(DONE) is DONE
    assert rewriter.done
    assert rewriter.failure is None


def test_rewriting_and_dropping():
    def rewrite(body):
        return None if "usage" in body else {**body, "extra": 1}

    rewriter = EventRewriter(rewrite)
    out = rewriter.feed(PLAIN + END + USAGE + DONE)
    assert out.startswith(PLAIN)
    assert out.endswith(DONE)
    assert b'"extra":1' in out
    assert b"usage" not in out.removeprefix(PLAIN)


@given(st.lists(st.sampled_from([PLAIN, END, USAGE]), max_size=6), st.lists(st.integers(0, 2000), max_size=8))
def test_any_cut_gives_the_same_bytes(events, cuts):
    stream = b"".join(events) + DONE
    seen = []

    def rewrite(body):
        seen.append(body)
        return body

    rewriter = EventRewriter(rewrite)
    places = [0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]
    out = b"".join(rewriter.feed(stream[a:b]) for a, b in itertools.pairwise(places))
    assert [json.loads(e[6:]) for e in out.split(b"\n\n")[:-2]] == [json.loads(e[6:]) for e in events]
    assert len(seen) == sum(e is not PLAIN for e in events)
    assert rewriter.done


@pytest.mark.parametrize("compact", [True, False])
def test_a_failing_rewrite_keeps_what_came_before(compact):
    separators = (",", ":") if compact else (", ", ": ")
    error = b"data: " + json.dumps({"error": {"message": "x"}}, separators=separators).encode() + b"\n\n"

    def rewrite(body):
        raise ValueError(body["error"]["message"])

    rewriter = EventRewriter(rewrite)
    assert rewriter.feed(PLAIN + error + PLAIN) == PLAIN
    assert isinstance(rewriter.failure, ValueError)
