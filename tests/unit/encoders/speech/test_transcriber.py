"""What transcribers share: options, streams, stretches of speech, times, encoder tokens."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from encoders.errors import UnsupportedMedia
from encoders.speech.transcriber import (
    SAMPLE_RATE,
    Span,
    TranscriptStream,
    asked,
    audio_tokens,
    cut_out,
    in_order,
    joined,
    language_guesses,
    pieces,
    put_back,
    sentences,
    shifted,
    speech_spans,
    windows,
)
from encoders.types import LanguageGuess, TranscribeOptions, TranscriptSegment, TranscriptWord


def segment(start: float, end: float, text: str = " hello", words: tuple[TranscriptWord, ...] = ()):
    return TranscriptSegment(start, end, text, -0.2, 0.01, 1.2, 0.0, (1, 2), words)


def word(start: float, end: float, text: str = " word") -> TranscriptWord:
    return TranscriptWord(start, end, text, 0.9)


# -- options ----------------------------------------------------------------------------------------------


def test_plain_options() -> None:
    wanted = asked(TranscribeOptions(), ("en", "de"), translates=True)
    assert (wanted.language, wanted.prompt, wanted.task, wanted.words) == (None, None, "transcribe", True)
    assert wanted.temperatures == (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)


def test_chosen_options() -> None:
    options = TranscribeOptions("de", " names:  Grimmelshausen ", 0.4, translate=True, words=False)
    wanted = asked(options, ("en", "de"), translates=True)
    assert (wanted.language, wanted.prompt) == ("de", "names: Grimmelshausen")
    assert (wanted.task, wanted.temperatures, wanted.words) == ("translate", (0.4,), False)


@pytest.mark.parametrize("prompt", ["<|endoftext|>", " <|en|><|translate|> ", "", None])
def test_special_tokens_do_not_steer_the_decoder(prompt: str | None) -> None:
    assert asked(TranscribeOptions(prompt=prompt), ("en",), translates=False).prompt is None
    spoken = asked(TranscribeOptions(prompt=f"before {prompt or ''} after"), ("en",), translates=False)
    assert spoken.prompt == "before after"


def test_what_a_model_cannot_do() -> None:
    with pytest.raises(UnsupportedMedia, match="ISO-639-1"):
        asked(TranscribeOptions(language="klingon"), ("en", "de"), translates=True)
    with pytest.raises(UnsupportedMedia, match="English only"):
        asked(TranscribeOptions(language="de"), ("en",), translates=False)
    with pytest.raises(UnsupportedMedia, match="cannot translate"):
        asked(TranscribeOptions(translate=True), ("en",), translates=False)
    for temperature in (-0.1, 1.1, float("nan"), float("inf")):
        with pytest.raises(UnsupportedMedia, match="between 0 and 1"):
            asked(TranscribeOptions(temperature=temperature), ("en",), translates=False)


# -- streams ----------------------------------------------------------------------------------------------


def heard(events: list[str], count: int = 3) -> Iterator[TranscriptSegment]:
    try:
        for index in range(count):
            events.append(f"window {index}")
            yield segment(index, index + 1)
    finally:
        events.append("stopped")


def test_segments_come_as_they_are_ready() -> None:
    events: list[str] = []
    stream = TranscriptStream("en", 0.9, 3.0, heard(events))
    assert events == []
    assert next(stream).start_seconds == 0
    assert events == ["window 0"]
    rest = stream.transcript()
    assert [one.start_seconds for one in rest.segments] == [1, 2]
    assert (rest.language, rest.duration_seconds) == ("en", 3.0)
    assert events == ["window 0", "window 1", "window 2", "stopped"]


def test_closing_stops_the_work() -> None:
    events: list[str] = []
    with TranscriptStream("en", 0.9, 3.0, heard(events)) as stream:
        next(stream)
    assert events == ["window 0", "stopped"]
    stream.close()
    assert list(stream) == []
    assert events == ["window 0", "stopped"]


def test_closing_while_another_thread_waits_stops_after_that_segment() -> None:
    inside, go_on = threading.Event(), threading.Event()
    events: list[str] = []

    def slow() -> Iterator[TranscriptSegment]:
        try:
            for index in range(100):
                inside.set()
                assert go_on.wait(10)
                events.append(f"window {index}")
                yield segment(index, index + 1)
        finally:
            events.append("stopped")

    stream = TranscriptStream("en", 1.0, 100.0, slow())
    found: list[TranscriptSegment] = []
    thread = threading.Thread(target=lambda: found.extend(stream))
    thread.start()
    assert inside.wait(10)
    stream.close()
    go_on.set()
    thread.join(10)
    assert not thread.is_alive()
    assert found == []
    assert events == ["window 0", "stopped"]


def test_a_failing_window_is_not_swallowed() -> None:
    def failing() -> Iterator[TranscriptSegment]:
        yield segment(0, 1)
        raise RuntimeError("out of memory")

    stream = TranscriptStream("en", 1.0, 2.0, failing())
    next(stream)
    with pytest.raises(RuntimeError, match="out of memory"):
        next(stream)


# -- stretches of speech ----------------------------------------------------------------------------------

GAPS = st.lists(st.tuples(st.integers(0, 5000), st.integers(1, 5000)), min_size=1, max_size=20)


def spans_of(gaps: list[tuple[int, int]]) -> list[Span]:
    spans, reached = [], 0
    for silence, speech in gaps:
        spans.append(Span(start=reached + silence, end=reached + silence + speech))
        reached += silence + speech
    return spans


@given(GAPS, st.integers(1, 12_000))
def test_pieces_keep_everything_in_order(gaps: list[tuple[int, int]], most: int) -> None:
    spans = spans_of(gaps)
    groups = list(pieces(spans, most))
    assert [span for group in groups for span in group] == spans
    for group in groups:
        length = sum(span["end"] - span["start"] for span in group)
        assert length <= most or len(group) == 1
    samples = np.arange(spans[-1]["end"], dtype=np.float32)
    speech = cut_out(samples, spans)
    places = list(joined(groups))
    assert (places[0]["start"], places[-1]["end"]) == (0, len(speech))
    for place, group in zip(places, groups, strict=True):
        np.testing.assert_array_equal(speech[place["start"] : place["end"]], cut_out(samples, group))


def test_times_are_put_back_onto_the_recording() -> None:
    second = SAMPLE_RATE
    spans = [Span(start=2 * second, end=5 * second), Span(start=10 * second, end=14 * second)]
    first = segment(0.5, 2.5, words=(word(0.5, 1.0), word(1.0, 2.5)))
    across = segment(2.8, 4.0, words=(word(2.8, 2.95), word(2.95, 3.2), word(3.2, 4.0)))
    silent_of_words = segment(0.0, 3.0)
    put = list(put_back([first, across, silent_of_words], spans))
    assert (put[0].start_seconds, put[0].end_seconds) == (2.5, 4.5)
    # The second word's middle lies behind the cut, so all of it does.
    assert [(one.start_seconds, one.end_seconds) for one in put[1].words] == [
        (4.8, 4.95),
        (9.95, 10.2),
        (10.2, 11.0),
    ]
    assert (put[2].start_seconds, put[2].end_seconds) == (2.0, 5.0)


def test_silence_and_nothing_hold_no_speech() -> None:
    assert speech_spans(np.zeros(0, np.float32)) == []
    assert speech_spans(np.zeros(1, np.float32)) == []
    assert speech_spans(np.zeros(5 * SAMPLE_RATE, np.float32)) == []


# -- times ------------------------------------------------------------------------------------------------

TIMES = st.floats(-2, 12, allow_nan=False)
WORDS = st.lists(st.tuples(TIMES, TIMES), max_size=4)


@given(st.lists(st.tuples(TIMES, TIMES, WORDS), max_size=6))
def test_times_never_run_backwards(raw: list[tuple[float, float, list[tuple[float, float]]]]) -> None:
    given_ = [segment(start, end, words=tuple(word(a, b) for a, b in words)) for start, end, words in raw]
    ordered = list(in_order(given_, 10.0))
    assert len(ordered) == len(given_)
    bounds = [time for one in ordered for time in (one.start_seconds, one.end_seconds)]
    assert bounds == sorted(bounds)
    assert all(0 <= time <= 10 for time in bounds)
    for one in ordered:
        times = [time for each in one.words for time in (each.start_seconds, each.end_seconds)]
        assert [one.start_seconds, *times, one.end_seconds] == sorted(
            [one.start_seconds, *times, one.end_seconds]
        )


def test_good_times_stay_as_they_are() -> None:
    good = [segment(0.0, 1.0, words=(word(0.0, 0.4), word(0.5, 1.0))), segment(1.2, 2.0)]
    assert list(in_order(good, 2.0)) == good


def test_shifting() -> None:
    later = shifted(segment(1.0, 2.0, words=(word(1.0, 2.0),)), 30.0)
    assert (later.start_seconds, later.end_seconds, later.words[0].end_seconds) == (31.0, 32.0, 32.0)


def test_a_window_comes_back_as_its_sentences() -> None:
    words = (word(0, 1, " One"), word(1, 2, ' two."'), word(3, 4, " Three?"), word(5, 6, " four"))
    whole = segment(0, 6, ' One two." Three? four', words)
    found = list(sentences(whole, lambda text: (len(text),)))
    assert [one.text for one in found] == [' One two."', " Three?", " four"]
    assert [(one.start_seconds, one.end_seconds) for one in found] == [(0, 2), (3, 4), (5, 6)]
    assert "".join(one.text for one in found) == whole.text
    assert found[1].tokens == (len(" Three?"),)
    assert list(sentences(segment(0, 1, " no words"), lambda _: ())) == [segment(0, 1, " no words")]
    assert list(sentences(segment(0, 1, "  "), lambda _: ())) == []


# -- encoder output ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("count", "tokens"), [(0, []), (1, [1]), (320, [1]), (321, [2]), (480_000, [1500]), (480_001, [1500, 1])]
)
def test_windows_know_their_real_tokens(count: int, tokens: list[int]) -> None:
    found = list(windows(np.ones(count, np.float32)))
    assert [real for _, real in found] == tokens
    assert all(window.shape == (480_000,) and window.dtype == np.float32 for window, _ in found)
    assert sum(int(window.sum()) for window, _ in found) == count


def test_tokens_are_pooled() -> None:
    result = audio_tokens([np.full((2, 4), 3, np.float32), np.full((1, 4), -1, np.float32)], 4)
    assert result.tokens.shape == (3, 4)
    np.testing.assert_allclose(result.pooled, 0.5)
    assert result.seconds_per_token == 0.02
    nothing = audio_tokens([], 4)
    assert nothing.tokens.shape == (0, 4)
    np.testing.assert_array_equal(nothing.pooled, np.zeros(4, np.float32))


def test_guesses_are_sorted() -> None:
    assert language_guesses([("de", 0.2), ("en", 0.7)]) == (
        LanguageGuess("en", 0.7),
        LanguageGuess("de", 0.2),
    )
