"""Sight and sound of one medium on one timeline: what is on screen while something is said, and the reverse.

Nothing here knows what a frame looks like to a model: a shot names its frames by their place among those sampled,
so labels, soft tokens and pixels can all be put beside what is said. Times are seconds from the medium's beginning.
"""

from __future__ import annotations

import math
import re
from bisect import bisect_right
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from itertools import groupby, pairwise

from encoders.types import Transcript, TranscriptSegment, TranscriptWord
from fusion.types import PerceivedMedium

__all__ = ["Moment", "Passage", "Row", "Shot", "Timeline", "align", "timeline_of"]

# A whole sentence reads better than the pieces a transcriber cut it into. Without full stops it stays in pieces.
_LONGEST_SENTENCE_SECONDS = 30.0
_LONGEST_PAUSE_SECONDS = 1.0
_SENTENCE_ENDS = (".", "!", "?", "…", "\u3002", "\uff01", "\uff1f")
# Fewer words than these beyond a change of the picture are no reason to cut a sentence.
_FEWEST_WORDS = 4


@dataclass(frozen=True, slots=True)
class Passage:
    """Something said without a break. ``words`` is empty when their times are not known."""

    start_seconds: float
    end_seconds: float
    text: str
    words: tuple[TranscriptWord, ...] = ()


@dataclass(frozen=True, slots=True)
class Shot:
    """A stretch of time and what was sampled in it: ``frames`` are places among the sampled frames."""

    start_seconds: float
    end_seconds: float
    frames: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Row:
    """A shot and what is said during it. ``shot`` is ``None`` where nothing is shown (sound, or a longer sound)."""

    shot: Shot | None
    said: tuple[Passage, ...]


@dataclass(frozen=True, slots=True)
class Moment:
    """One time that a phrase is said, and the shots on screen meanwhile."""

    start_seconds: float
    end_seconds: float
    shots: tuple[Shot, ...]


@dataclass(frozen=True, slots=True)
class Timeline:
    """Shots and passages, each in order of time. Shots do not overlap."""

    shots: tuple[Shot, ...]
    passages: tuple[Passage, ...]

    def on_screen(self, start_seconds: float, end_seconds: float) -> tuple[Shot, ...]:
        """The shots on screen in that stretch; a moment is a stretch whose start and end are the same."""
        return tuple(shot for shot in self.shots if _overlap(shot, start_seconds, end_seconds))

    def said_between(self, start_seconds: float, end_seconds: float) -> tuple[Passage, ...]:
        """What is said in that stretch, cut to its words where their times are known."""
        found = []
        for passage in self.passages:
            if not _overlap(passage, start_seconds, end_seconds):
                continue
            if not passage.words or start_seconds == end_seconds:
                found.append(passage)
                continue
            inside = [word for word in passage.words if start_seconds <= _middle(word) < end_seconds]
            if len(inside) == len(passage.words):
                found.append(passage)
            elif inside:
                found.append(_passage(inside))
        return tuple(found)

    def while_said(self, phrase: str) -> tuple[Moment, ...]:
        """Every time that ``phrase`` is said (its words in a row, whatever their case and marks), and what is on
        screen then. Where word times are not known, the whole passage is taken for it.
        """
        return tuple(
            Moment(start, end, self.on_screen(start, end))
            for start, end in _times_said(self.passages, phrase)
        )

    def while_shown(self, frames: Collection[int]) -> tuple[Passage, ...]:
        """What is said while any of these frames is on screen."""
        return tuple(
            passage
            for row in self.rows()
            if row.shot and set(row.shot.frames) & set(frames)
            for passage in row.said
        )

    def joined(self, same: Callable[[Shot, Shot], bool]) -> Timeline:
        """Neighbouring shots made one where ``same`` says so of the joined ones so far and the next."""
        shots: list[Shot] = []
        for shot in self.shots:
            if shots and same(shots[-1], shot):
                shot = Shot(shots[-1].start_seconds, shot.end_seconds, shots.pop().frames + shot.frames)
            shots.append(shot)
        return replace(self, shots=tuple(shots))

    def rows(self) -> tuple[Row, ...]:
        """All shots in order, each with what is said during it; every word stands in exactly one row.

        A passage that goes on while the picture changes is cut between words, unless one side has fewer than four;
        without word times it stands where most of it is said.
        """
        said: dict[int, list[Passage]] = {}
        beside: list[Passage] = []
        for passage in self.passages:
            for place, piece in _by_shot(passage, self.shots):
                (beside if place is None else said.setdefault(place, [])).append(piece)
        # Two who speak at once: pieces of the one begin among those of the other.
        rows = [
            Row(shot, tuple(sorted(said.get(place, ()), key=lambda piece: piece.start_seconds)))
            for place, shot in enumerate(self.shots)
        ]
        rows += [Row(None, (passage,)) for passage in beside]
        return tuple(sorted(rows, key=_row_start))


def timeline_of(medium: PerceivedMedium) -> Timeline:
    """The timeline of whatever was perceived of a medium: frames seen or made soft tokens, and speech."""
    seen = medium.video
    if seen is not None:
        times = [frame.time_seconds for frame in seen.frames]
        return align(
            times,
            seen.duration_seconds,
            seen.repeat_times_seconds,
            seen.scene_changes_seconds,
            medium.transcript,
        )
    soft = medium.soft
    if soft is not None and soft.reasons:
        duration = (
            soft.duration_seconds if soft.duration_seconds is not None else medium.info.duration_seconds
        )
        return align(
            soft.times_seconds,
            duration or 0.0,
            soft.repeat_times_seconds,
            soft.scene_changes_seconds,
            medium.transcript,
        )
    return align((), 0.0, transcript=medium.transcript)


def align(
    times_seconds: Sequence[float],
    duration_seconds: float,
    repeat_times_seconds: Sequence[float] = (),
    scene_changes_seconds: Sequence[float] = (),
    transcript: Transcript | None = None,
) -> Timeline:
    """The timeline of frames sampled at ``times_seconds`` (in order), and of a transcript.

    A frame stands for the screen from the change of the picture before it to the change after it. It was last seen
    when frames were left out because they showed the same (``repeat_times_seconds``). From then to the next frame
    the change is the scene change found there, else the middle. Scenes of which no frame was looked at, between two
    frames, before the first or after the last, have no shot.
    """
    if not times_seconds:
        return Timeline((), _passages(transcript))
    first, end = times_seconds[0], max(duration_seconds, times_seconds[-1])
    starts = [max((change for change in scene_changes_seconds if change <= first), default=0.0)]
    ends = []
    for earlier, later in pairwise((*times_seconds, math.inf)):
        seen = max((time for time in repeat_times_seconds if earlier < time < later), default=earlier)
        changes = [change for change in scene_changes_seconds if seen < change <= min(later, end)]
        middle = (seen + later) / 2 if later < math.inf else end
        ends.append(changes[0] if changes else middle)
        starts.append(changes[-1] if changes else middle)
    shots = (Shot(start, end, (place,)) for place, (start, end) in enumerate(zip(starts, ends, strict=False)))
    return Timeline(tuple(shots), _passages(transcript))


def _passages(transcript: Transcript | None) -> tuple[Passage, ...]:
    """Segments joined to whole sentences."""
    passages: list[Passage] = []
    for segment in transcript.segments if transcript is not None else ():
        if not segment.text.strip():
            continue
        if passages and _goes_on(passages[-1], segment):
            last = passages.pop()
            words = last.words + segment.words if last.words and segment.words else ()
            text = f"{last.text} {segment.text.strip()}"
            passages.append(Passage(last.start_seconds, segment.end_seconds, text, words))
        else:
            passages.append(
                Passage(segment.start_seconds, segment.end_seconds, segment.text.strip(), segment.words)
            )
    return tuple(passages)


def _goes_on(passage: Passage, segment: TranscriptSegment) -> bool:
    return (
        not passage.text.endswith(_SENTENCE_ENDS)
        and segment.start_seconds - passage.end_seconds < _LONGEST_PAUSE_SECONDS
        and segment.end_seconds - passage.start_seconds <= _LONGEST_SENTENCE_SECONDS
    )


def _overlap(part: Shot | Passage, start: float, end: float) -> bool:
    if start == end:
        return part.start_seconds <= start < part.end_seconds
    return part.start_seconds < end and start < part.end_seconds


def _middle(word: TranscriptWord) -> float:
    return (word.start_seconds + word.end_seconds) / 2


def _row_start(row: Row) -> float:
    return row.shot.start_seconds if row.shot is not None else row.said[0].start_seconds


def _passage(words: Sequence[TranscriptWord]) -> Passage:
    text = "".join(word.text for word in words).strip()
    return Passage(words[0].start_seconds, words[-1].end_seconds, text, tuple(words))


def _by_shot(passage: Passage, shots: Sequence[Shot]) -> list[tuple[int | None, Passage]]:
    """The passage cut where the picture changes, each piece with the place of its shot."""
    if not passage.words:
        shared = [
            min(shot.end_seconds, passage.end_seconds) - max(shot.start_seconds, passage.start_seconds)
            for shot in shots
        ]
        most = max(shared, default=0.0)
        return [(shared.index(most) if most > 0 else None, passage)]

    starts = [shot.start_seconds for shot in shots]

    def place_of(word: TranscriptWord) -> int | None:
        place = bisect_right(starts, _middle(word)) - 1
        return place if place >= 0 and _middle(word) < shots[place].end_seconds else None

    pieces = [(place, list(words)) for place, words in groupby(passage.words, place_of)]
    while len(pieces) > 1:
        shortest = min(range(len(pieces)), key=lambda index: len(pieces[index][1]))
        if len(pieces[shortest][1]) >= _FEWEST_WORDS:
            break
        # Into the piece before it, which the reader has just read; the first goes into the one after.
        into = shortest - 1 if shortest else 1
        first, second = sorted((shortest, into))
        pieces[first : second + 1] = [(pieces[into][0], pieces[first][1] + pieces[second][1])]
    if len(pieces) == 1:
        return [(pieces[0][0], passage)]
    return [(place, _passage(words)) for place, words in pieces]


def _times_said(passages: Sequence[Passage], phrase: str) -> list[tuple[float, float]]:
    wanted = "".join(_letters(phrase))
    if not wanted:
        return []
    # All words in one run of letters, so that it does not matter where a transcriber divides them.
    starts: dict[int, float] = {}
    ends: dict[int, float] = {}
    run = ""
    for passage in passages:
        words = [(word.text, word.start_seconds, word.end_seconds) for word in passage.words]
        for text, start, end in words or [(passage.text, passage.start_seconds, passage.end_seconds)]:
            for letters in _letters(text):
                starts[len(run)] = start
                run += letters
                ends[len(run)] = end
    found = []
    at = run.find(wanted)
    while at >= 0:
        if at in starts and at + len(wanted) in ends:
            found.append((starts[at], ends[at + len(wanted)]))
        at = run.find(wanted, at + 1)
    return found


def _letters(text: str) -> list[str]:
    return re.findall(r"\w+", text.casefold().replace("'", "").replace("\u2019", ""))
