"""Small pure parts: subtitles, languages, dates, field paths, counting tokens."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from fake_services import fake_transcript

from serving.errors import InvalidRequest
from serving.languages import checked_language, language_name
from serving.protocol.errors import field_path
from serving.protocol.search import DateRange
from serving.retrieval.filters import date_bounds
from serving.subtitles import srt, vtt
from serving.token_counter import token_counter

NOW = datetime(2026, 3, 31, 12, tzinfo=UTC)


def test_subtitle_times():
    transcript = fake_transcript([(0.0, 1.0006, "a"), (3599.9996, 3661.5, "b"), (4000.0, 4001.0, "  ")], 5000)
    assert "00:00:00,000 --> 00:00:01,001" in srt(transcript)
    assert "01:00:00,000 --> 01:01:01,500" in srt(transcript)
    assert srt(transcript).count("-->") == 2
    assert "01:00:00.000 --> 01:01:01.500" in vtt(transcript)


def test_languages():
    assert checked_language(None) is None
    assert checked_language("") is None
    assert checked_language("EN") == "en"
    assert checked_language("German") == "de"
    assert language_name("en") == "english"
    assert language_name("xx") == "xx"
    with pytest.raises(InvalidRequest):
        checked_language("english; drop")


def test_date_rules():
    day = 86400
    assert date_bounds(None, NOW) == (None, None)
    assert date_bounds("last_30_days", NOW) == (NOW.timestamp() - 30 * day, None)
    assert date_bounds("last_1_hour", NOW) == (NOW.timestamp() - 3600, None)
    start = datetime(2026, 1, 31, tzinfo=UTC).timestamp()
    whole_day = DateRange.model_validate({"from": "2026-01-31", "to": "2026-01-31"})
    assert date_bounds(whole_day, NOW) == (start, start + day)
    zoned = DateRange.model_validate({"from": "2026-01-31T01:00:00+01:00"})
    assert date_bounds(zoned, NOW) == (start, None)
    for wrong in ("last_0_days", "last_days", "next_3_days", DateRange(to="2026-13-01"), DateRange(to="x")):
        with pytest.raises(InvalidRequest):
            date_bounds(wrong, NOW)


def test_field_paths():
    body = {"messages": [{"content": [{"type": "image_url", "image_url": {"url": 5}}]}]}
    location = ("messages", 0, "user", "content", "list[Part]", 0, "image_url", "image_url", "url")
    assert field_path(location, body) == "messages[0].content[0].image_url.url"
    location = ("messages", 0, "user", "content", "list[Part]", 0, "image_url", "image_url", "detail")
    assert field_path(location, body, missing=True) == "messages[0].content[0].image_url.detail"
    assert field_path((), body) is None
    assert field_path(("model",), body, missing=True) == "model"
    assert field_path(("messages", "str"), body) == "messages"


def test_counting_without_a_tokenizer_is_on_the_safe_side():
    count = token_counter(None)
    assert count("") == 0
    assert count("hello world") >= 2
    assert count("日本語") >= 3
