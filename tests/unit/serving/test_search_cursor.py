"""Cursors are signed, and tied to one request of one tenant."""

from __future__ import annotations

import pytest

from serving.errors import InvalidRequest
from serving.protocol.search import RecommendRequest, SearchRequest
from serving.retrieval.cursor import CursorSigner, Position

SECRET = b"0123456789abcdef"
QUERY = {"type": "text", "content": "cat"}
POSITION = Position(10, 7, 1_700_000_000.25)


def request(cursor: str | None = None, **fields: object) -> SearchRequest:
    return SearchRequest.model_validate({"query": QUERY, "cursor": cursor, **fields})


def test_it_leads_back_to_where_it_was_made():
    token = CursorSigner(SECRET).sign("t", request(), POSITION)
    assert CursorSigner(SECRET).read("t", request(token)) == POSITION
    assert CursorSigner(SECRET).read("t", request()) is None
    assert "cat" not in token
    # One page's cursor is not part of what the next one is tied to.
    again = CursorSigner(SECRET).sign("t", request(token), POSITION)
    assert CursorSigner(SECRET).read("t", request(again)) == POSITION


def test_every_other_one_is_refused_alike():
    signer = CursorSigner(SECRET)
    token = signer.sign("t", request(), POSITION)
    body, signature = token.rsplit(".", 1)
    wrong = [
        ("t", request("x")),
        ("t", request("é")),
        ("t", request(body)),
        ("t", request(f"{body}.{signature[::-1]}")),
        ("t", request(f"{body[:-1]}.{signature}")),
        ("t", request(CursorSigner(b"f" * 16).sign("t", request(), POSITION))),
        ("other", request(token)),
        ("t", request(token, top_k=11)),
        ("t", request(token, collection="zoo")),
        ("t", request(token, filters={"a": 1})),
        ("t", request(token, filters={"date_range": {"from": "2026-01-01"}})),
        ("t", request(token, include=["url"])),
        ("t", RecommendRequest(positive=["a"], cursor=token)),
    ]
    messages = set()
    for tenant, other in wrong:
        with pytest.raises(InvalidRequest) as refused:
            signer.read(tenant, other)
        assert (refused.value.param, refused.value.code) == ("cursor", "invalid_cursor")
        messages.add(refused.value.message)
    assert len(messages) == 1
