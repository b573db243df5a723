"""Range and If-None-Match, held against RFC 9110."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.byte_range import NOT_SATISFIABLE, matches_etag, read_range

ETAG = '"file-1"'


@pytest.mark.parametrize(
    ("header", "wanted"),
    [
        (None, None),
        ("bytes=0-0", (0, 1)),
        ("bytes=0-", (0, 100)),
        ("bytes=99-", (99, 100)),
        ("bytes=10-19", (10, 20)),
        ("bytes=10-1000", (10, 100)),
        ("Bytes= 10-19 ", (10, 20)),
        ("bytes=-1", (99, 100)),
        ("bytes=-1000", (0, 100)),
        ("bytes=-0", NOT_SATISFIABLE),
        ("bytes=100-", NOT_SATISFIABLE),
        ("bytes=100-200", NOT_SATISFIABLE),
        # Ignored, as the RFC allows: all bytes are the answer.
        ("bytes=0-1,5-6", None),
        ("bytes=19-10", None),
        ("bytes=-", None),
        ("bytes=", None),
        ("bytes", None),
        ("", None),
        ("items=0-1", None),
        ("bytes=a-b", None),
        ("bytes=1-2-3", None),
        ("bytes=--1", None),
        ("bytes=0x1-2", None),
        ("bytes=\u0661-\u0662", None),
        ("bytes=" + "9" * 5000 + "-", None),
    ],
)
def test_ranges_of_a_hundred_bytes(header, wanted):
    assert read_range(header, None, 100, ETAG) == wanted


def test_an_empty_file_has_no_ranges():
    assert read_range("bytes=0-", None, 0, ETAG) == NOT_SATISFIABLE
    assert read_range("bytes=-5", None, 0, ETAG) == NOT_SATISFIABLE


@pytest.mark.parametrize(
    ("if_range", "is_read"),
    [
        (ETAG, True),
        (f" {ETAG} ", True),
        ('"file-2"', False),
        (f"W/{ETAG}", False),  # weak tags never match here
        ("Tue, 15 Nov 1994 12:45:26 GMT", False),
        ("", False),
    ],
)
def test_a_range_of_another_version_is_ignored(if_range, is_read):
    assert read_range("bytes=0-0", if_range, 100, ETAG) == ((0, 1) if is_read else None)


@given(header=st.text(max_size=40) | st.from_regex(r"bytes=\d*-\d*"), size=st.integers(0, 1 << 40))
def test_whatever_is_asked_for_lies_in_the_file(header, size):
    found = read_range(header, None, size, ETAG)
    assert found is None or found == NOT_SATISFIABLE or 0 <= found[0] < found[1] <= size


@pytest.mark.parametrize(
    ("header", "matches"),
    [
        (ETAG, True),
        (f"W/{ETAG}", True),
        (f'"a", {ETAG}, "b"', True),
        (f'"a",{ETAG}', True),
        ("*", True),
        (" * ", True),
        ("", False),
        ("file-1", False),
        ('"file-10"', False),
        ('"file-1', False),
        ('"a, *"', False),
        ('"' + "a" * 100_000, False),
    ],
)
def test_known_versions(header, matches):
    assert matches_etag(header, ETAG) == matches
