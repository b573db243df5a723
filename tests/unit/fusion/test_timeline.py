"""The timeline: which frame stands for which time, and what is said meanwhile."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from encoders.types import (
    EncodedFrame,
    EncodedVideo,
    MediaInfo,
    MediaKind,
    Transcript,
    TranscriptSegment,
    TranscriptWord,
)
from fusion.timeline import Passage, Timeline, align, timeline_of
from fusion.types import PerceivedMedium, SoftTokens


def segment(start: float, end: float, text: str, *, words: bool = True) -> TranscriptSegment:
    """A passage whose words share its time evenly."""
    each = text.split()
    step = (end - start) / len(each)
    times = [start + step * place for place in range(len(each))]
    heard = tuple(TranscriptWord(at, at + step, f" {one}", 0.9) for at, one in zip(times, each, strict=True))
    return TranscriptSegment(start, end, f" {text}", -0.1, 0.0, 1.0, 0.0, (), heard if words else ())


def speech(*segments: TranscriptSegment) -> Transcript:
    return Transcript("en", max((one.end_seconds for one in segments), default=0.0), segments)


def spans(timeline: Timeline) -> list[tuple[float, float]]:
    return [(shot.start_seconds, shot.end_seconds) for shot in timeline.shots]


def table(timeline: Timeline) -> list[tuple[tuple[int, ...] | None, list[str]]]:
    """Each row's frames and what is said."""
    return [
        (row.shot.frames if row.shot else None, [passage.text for passage in row.said])
        for row in timeline.rows()
    ]


def test_a_frame_stands_for_its_sides_to_the_middle_between_frames():
    assert spans(align([1.0, 3.0, 7.0], 8.0)) == [(0.0, 2.0), (2.0, 5.0), (5.0, 8.0)]
    assert spans(align([1.0], 8.0)) == [(0.0, 8.0)]
    assert spans(align([], 8.0)) == []


def test_a_frame_stands_as_long_as_it_was_seen_again():
    """At 1, 3, 5 and 7 seconds the screen showed the same; only the first of these frames was kept."""
    assert spans(align([1.0, 9.0], 10.0, repeat_times_seconds=(3.0, 5.0, 7.0))) == [(0.0, 8.0), (8.0, 10.0)]
    assert spans(align([1.0, 9.0], 12.0, repeat_times_seconds=(11.0,)))[1] == (5.0, 12.0)


def test_scene_changes_end_shots_exactly():
    assert spans(align([1.0, 9.0], 10.0, (3.0,), (6.2,))) == [(0.0, 6.2), (6.2, 10.0)]
    # Between 4 and 6 a scene was not looked at.
    assert spans(align([1.0, 9.0], 10.0, (), (4.0, 6.0))) == [(0.0, 4.0), (6.0, 10.0)]
    assert align([1.0, 9.0], 10.0, (), (4.0, 6.0)).on_screen(5.0, 5.0) == ()


def test_scenes_before_the_first_frame_and_after_the_last_were_not_looked_at():
    """Of many scenes only some are looked at: the first may be the third of the video."""
    assert spans(align([5.0], 12.0, (), (2.0, 4.0, 7.0, 9.0))) == [(4.0, 7.0)]
    assert spans(align([5.0, 8.0], 12.0, (), (4.0, 7.0, 9.0))) == [(4.0, 7.0), (7.0, 9.0)]
    said = speech(segment(0.0, 3.0, "the mayor cuts a ribbon."))
    assert table(align([5.0], 12.0, (), (4.0,), said)) == [(None, ["the mayor cuts a ribbon."]), ((0,), [])]


def test_a_change_between_frames_that_show_the_same_ends_nothing():
    assert spans(align([1.0, 9.0], 10.0, (5.0,), (4.0, 7.0))) == [(0.0, 7.0), (7.0, 10.0)]
    assert spans(align([1.0], 10.0, (5.0,), (4.0,))) == [(0.0, 10.0)]
    assert spans(align([1.0], 10.0, (5.0,), (4.0, 7.0))) == [(0.0, 7.0)]


def test_what_is_on_screen_while_something_is_said():
    said = speech(segment(1.0, 4.0, "a cup of coffee."), segment(6.0, 9.0, "and a black cat."))
    timeline = align([2.0, 8.0], 10.0, transcript=said)
    (moment,) = timeline.while_said("Black cat")
    assert (moment.start_seconds, moment.end_seconds) == (7.5, 9.0)
    assert [shot.frames for shot in moment.shots] == [(1,)]
    assert [shot.frames for shot in timeline.while_said("coffee, and")[0].shots] == [(0,), (1,)]
    assert len(timeline.while_said("a")) == 2
    for nothing in ("dog", "", "!?", "black ca", "lack cat"):
        assert timeline.while_said(nothing) == ()


def test_without_word_times_the_whole_passage_is_taken():
    timeline = align([2.0, 8.0], 10.0, transcript=speech(segment(1.0, 4.0, "it's a cup", words=False)))
    (moment,) = timeline.while_said("its a")
    assert (moment.start_seconds, moment.end_seconds) == (1.0, 4.0)
    assert timeline.while_shown({0}) == (Passage(1.0, 4.0, "it's a cup"),)
    assert timeline.while_shown({1}) == ()


def test_languages_without_spaces():
    words = tuple(TranscriptWord(float(at), at + 1.0, letter, 0.9) for at, letter in enumerate("你好世界"))
    said = Transcript("zh", 4.0, (TranscriptSegment(0.0, 4.0, "你好世界", 0, 0, 1, 0, (), words),))
    (moment,) = align([1.0, 3.0], 4.0, transcript=said).while_said("世界")
    assert (moment.start_seconds, moment.end_seconds) == (2.0, 4.0)
    assert [shot.frames for shot in moment.shots] == [(1,)]


def test_what_is_said_between_two_times():
    timeline = align(
        [], 0.0, transcript=speech(segment(0.0, 4.0, "one two three four"), segment(8.0, 9.0, "five"))
    )
    assert [passage.text for passage in timeline.said_between(1.0, 3.0)] == ["two three"]
    assert [passage.text for passage in timeline.said_between(3.0, 9.0)] == ["four", "five"]
    assert [passage.text for passage in timeline.said_between(8.5, 8.5)] == ["five"]
    assert timeline.said_between(5.0, 7.0) == ()


def test_a_passage_is_cut_between_words_where_the_picture_changes():
    said = speech(
        segment(0.0, 8.0, "here is the first thing and there the second."), segment(8.5, 9.0, "Look!")
    )
    assert table(align([2.0, 6.0], 9.0, transcript=said)) == [
        ((0,), ["here is the first"]),
        ((1,), ["thing and there the second.", "Look!"]),
    ]


def test_few_words_beyond_a_change_do_not_cut_a_sentence():
    said = speech(segment(0.0, 9.0, "all of this is about the first thing"))
    assert table(align([3.0, 11.0], 14.0, transcript=said)) == [
        ((0,), ["all of this is about the first thing"]),
        ((1,), []),
    ]
    late = speech(segment(6.0, 15.0, "all of this is about the second thing"))
    assert table(align([3.0, 11.0], 16.0, transcript=late))[0] == ((0,), [])


def test_sound_beside_and_after_the_pictures():
    said = speech(segment(0.0, 1.0, "before."), segment(5.0, 6.0, "after."))
    assert table(align([1.0], 4.0, transcript=said)) == [((0,), ["before."]), (None, ["after."])]
    assert table(align([], 0.0, transcript=said)) == [(None, ["before."]), (None, ["after."])]


def test_pieces_of_a_sentence_are_put_together():
    said = speech(
        segment(0.0, 6.0, "one of the largest"),
        segment(6.2, 9.0, "clean rooms."),
        segment(9.2, 10.0, "Next"),
        segment(12.0, 13.0, "after a pause"),
        segment(13.0, 44.0, "and on and on"),
    )
    passages = align([], 0.0, transcript=said).passages
    assert [passage.text for passage in passages] == [
        "one of the largest clean rooms.",
        "Next",
        "after a pause",
        "and on and on",
    ]
    assert (passages[0].start_seconds, passages[0].end_seconds, len(passages[0].words)) == (0.0, 9.0, 6)


def test_shots_of_one_scene_can_be_joined():
    timeline = align([1.0, 3.0, 5.0], 6.0).joined(lambda before, after: after.frames == (1,))
    assert [shot.frames for shot in timeline.shots] == [(0, 1), (2,)]
    assert spans(timeline) == [(0.0, 4.0), (4.0, 6.0)]


def test_a_medium_of_frames_or_of_soft_tokens():
    info = MediaInfo(MediaKind.VIDEO, "video/mp4", 64, 64, 10.0, 25.0, True)
    said = speech(segment(6.0, 8.0, "look at that cat"))
    frames = tuple(EncodedFrame(at, "uniform", (), np.zeros(1, np.float32)) for at in (1.0, 9.0))
    seen = EncodedVideo(10.0, frames, 1, (3.0,), ())
    soft = SoftTokens(
        np.zeros((2, 4, 8), np.float32), "decoder", (1.0, 9.0), ("uniform",) * 2, 10.0, 1, (3.0,), ()
    )
    media = [
        PerceivedMedium("v", info, video=seen, transcript=said),
        PerceivedMedium("v", info, soft=soft, transcript=said),
    ]
    timelines = [timeline_of(medium) for medium in media]
    assert timelines[0] == timelines[1]
    assert spans(timelines[0]) == [(0.0, 6.0), (6.0, 10.0)]
    assert table(timelines[0])[1] == ((1,), ["look at that cat"])
    sound = SoftTokens(np.zeros((2, 4, 8), np.float32), "decoder", (0.0, 30.0))
    heard = PerceivedMedium("a", MediaInfo(MediaKind.AUDIO, "audio/wav"), soft=sound, transcript=said)
    assert timeline_of(heard).shots == ()


times = st.lists(st.floats(0, 300, allow_nan=False), max_size=12, unique=True).map(sorted)
texts = st.lists(st.sampled_from(["a", "bee", "sees", "dogs.", "run!"]), min_size=1, max_size=9)


@given(times, times, times, st.lists(st.tuples(st.floats(0, 290), st.floats(0.1, 20), texts), max_size=6))
@example(
    [0.0, 4.0], [], [], [(0.0, 1.0, ["a"] * 2), (0.0, 6.0, ["a"] * 5), (0.0, 1.0, ["a"]), (2.0, 1.0, ["a"])]
)
def test_every_moment_and_every_word_has_one_place(frames, repeats, changes, said):
    said.sort(key=lambda one: one[0])
    segments = [segment(start, start + length, " ".join(words)) for start, length, words in said]
    timeline = align(frames, 300.0, repeats, changes, speech(*segments))
    for before, after in zip(timeline.shots, timeline.shots[1:], strict=False):
        assert before.end_seconds <= after.start_seconds
    for shot in timeline.shots:
        (place,) = shot.frames
        assert shot.start_seconds <= frames[place] <= shot.end_seconds
    if frames:
        assert timeline.shots[0].start_seconds == max((at for at in changes if at <= frames[0]), default=0)
        seen = max((at for at in repeats if at > frames[-1]), default=frames[-1])
        assert timeline.shots[-1].end_seconds == min((at for at in changes if at > seen), default=300.0)
    told = [word for row in timeline.rows() for passage in row.said for word in passage.text.split()]
    assert sorted(told) == sorted(word for _, _, words in said for word in words)
    for row in timeline.rows():
        starts = [passage.start_seconds for passage in row.said]
        assert starts == sorted(starts)


@pytest.mark.parametrize("phrase", ["bee", "bee sees", "dogs"])
@given(said=st.lists(texts, min_size=1, max_size=5))
def test_a_phrase_is_found_as_often_as_it_is_said(phrase, said):
    segments = [segment(10.0 * at, 10.0 * at + 5, " ".join(words)) for at, words in enumerate(said)]
    spoken = " ".join(word.strip(".!") for words in said for word in words).split()
    wanted = phrase.split()
    expected = sum(spoken[at : at + len(wanted)] == wanted for at in range(len(spoken)))
    assert len(align([], 0.0, transcript=speech(*segments)).while_said(phrase)) == expected
