"""The demo's tour against a fake platform over real HTTP: it passes when all is well, and only then."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from fake_http_platform import FakeHttpPlatform, running
from rich.console import Console

from deploy.demo.samples import Samples, Stretch
from deploy.demo.script import COLLECTION, QUESTIONS, SEARCHES, SENTENCES, SPEECH_WORDS
from deploy.demo.tour import run_tour
from deploy.errors import TourFailed

_PICTURES = ("cat", "coffee", "rocket", "photographer", "sign")


@pytest.fixture
def samples(tmp_path: Path) -> Samples:
    """Files of the right names; the fake platform does not look into them."""
    files = {name: tmp_path / f"{name}.png" for name in _PICTURES}
    speech, video = tmp_path / "speech.flac", tmp_path / "video.mp4"
    for path in (*files.values(), speech, video):
        path.write_bytes(b"x")
    shown = ("coffee", "cat", "rocket", "photographer")
    stretches = tuple(Stretch(name, 6.0 * n, 6.0 * n + 6) for n, name in enumerate(shown))
    return Samples(files, speech, video, stretches)


@pytest.fixture(scope="module")
def served() -> Iterator[tuple[FakeHttpPlatform, str]]:
    platform = FakeHttpPlatform()
    with running(platform) as url:
        yield platform, url


@pytest.fixture
def platform(served: tuple[FakeHttpPlatform, str], samples: Samples) -> FakeHttpPlatform:
    platform = served[0]
    platform.reset()
    platform.transcript |= {"text": f"{' '.join(SPEECH_WORDS)}."}
    platform.hits = lambda query: _right_hits(platform, samples, query)
    return platform


@pytest.fixture
def tour(
    platform: FakeHttpPlatform, served: tuple[FakeHttpPlatform, str], samples: Samples
) -> Callable[[], str]:
    """Runs the tour and gives back what it printed."""

    def run() -> str:
        printed = StringIO()
        report = run_tour(served[1], samples, Console(file=printed, width=120))
        assert len(report.steps) == len(QUESTIONS) + len(SEARCHES) + 2
        assert report.seconds > 0
        return printed.getvalue()

    return run


def _right_hits(platform: FakeHttpPlatform, samples: Samples, body: dict[str, Any]) -> list[dict[str, Any]]:
    """What a good platform finds, by the tour's own table."""
    (query,) = body["query"]
    picture = platform.media[query["content"]]["filename"] if query["type"] == "image" else ""
    wanted = next(
        find
        for find in SEARCHES
        if [find.modality] == body["search_modalities"]
        and (f"{find.picture}.png" == picture if picture else find.words == query["content"])
    )
    document = f"demo-sentence-{wanted.finds}" if wanted.modality == "text" else f"demo-{wanted.finds}"
    hit: dict[str, Any] = {"id": document, "type": wanted.modality, "similarity_score": 0.9, "metadata": {}}
    if wanted.while_shown:
        start = samples.stretch(wanted.while_shown).start_seconds + 1
        hit["matches"] = [{"start_seconds": start, "end_seconds": start + 2, "score": 0.9, "text": "[seen]"}]
    return [hit]


def test_the_tour_says_what_was_sent_came_back_and_was_used(tour: Callable[[], str]) -> None:
    printed = tour()
    for question in QUESTIONS.values():
        assert question.title in printed
        assert question.text in printed
    for text in (
        "A cat.",
        "saw tabby 75%",
        "looked at 1 frame (0.5 s)",
        "cache: labels miss",
        "Hello there.",
    ):
        assert text in printed
    for text in ("at 13.0 s to 15.0 s ([seen])", "TTFT", "tokens/s", "RTF", "Every step gave what it must"):
        assert text in printed


def test_a_second_tour_doubles_nothing(tour: Callable[[], str], platform: FakeHttpPlatform) -> None:
    tour()
    documents = dict(platform.documents[COLLECTION])
    assert len(documents) == len(_PICTURES) + 2 + len(SENTENCES)
    tour()
    assert platform.documents[COLLECTION].keys() == documents.keys()


def test_searches_ask_for_the_version_that_holds_everything(
    tour: Callable[[], str], platform: FakeHttpPlatform
) -> None:
    tour()
    newest = max(
        n for n, (path, _) in enumerate(platform.requests, start=1) if path.startswith("collections/")
    )
    assert {body["min_version"] for body in platform.sent("search")} == {newest}


def test_questions_bring_their_media_by_id(tour: Callable[[], str], platform: FakeHttpPlatform) -> None:
    tour()
    parts = [body["messages"][0]["content"] for body in platform.sent("chat/completions")]
    assert [[part["type"] for part in content] for content in parts] == [
        ["image_url", "text"],
        ["image_url", "audio_url", "text"],
        ["video_url", "text"],
    ]
    assert parts[0][0]["image_url"]["url"] in platform.media


def _no_words(platform: FakeHttpPlatform) -> None:
    platform.words = [" "]


def _broken_answer(platform: FakeHttpPlatform) -> None:
    platform.break_off = True


def _unfinished(platform: FakeHttpPlatform) -> None:
    platform.finish_reason = "abort"


def _misheard(platform: FakeHttpPlatform) -> None:
    platform.transcript["text"] = "Welcome to the museum."


def _no_times(platform: FakeHttpPlatform) -> None:
    platform.transcript["words"] = []


def _no_length(platform: FakeHttpPlatform) -> None:
    platform.transcript["duration"] = 0.0


def _wrong_hit(platform: FakeHttpPlatform) -> None:
    platform.hits = lambda query: [{"id": "demo-clock", "similarity_score": 0.9}]


def _no_hit(platform: FakeHttpPlatform) -> None:
    platform.hits = lambda query: []


def _wrong_second(platform: FakeHttpPlatform) -> None:
    right = platform.hits

    def late(query: dict[str, Any]) -> list[dict[str, Any]]:
        hits = right(query)
        for match in hits[0].get("matches", ()):
            match["start_seconds"] += 6
        return hits

    platform.hits = late


def _refused(platform: FakeHttpPlatform) -> None:
    platform.refusals["audio/transcriptions"] = (503, {"message": "The model is not ready."})


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (_no_words, "Ask about a photo: The answer to 'What is in this picture.' is empty"),
        (_broken_answer, "Ask about a photo: The model stopped"),
        (_unfinished, r"broke off \(finish_reason abort\)"),
        (_misheard, "Transcribe a recording: The transcript lacks morning, tickets, children, fountain"),
        (_no_times, "The transcript came without times"),
        (_no_length, "the recording has no length"),
        (_wrong_hit, "must find demo-cat first, but found demo-clock"),
        (_no_hit, "must find demo-cat first, but found nothing"),
        (_wrong_second, "between 12 and 18 s, where it is shown, but matched at 19.0 s"),
        (_refused, "Transcribe a recording: The model is not ready. Try again in a moment"),
    ],
)
def test_the_tour_fails_with_a_sentence(
    tour: Callable[[], str],
    platform: FakeHttpPlatform,
    spoil: Callable[[FakeHttpPlatform], None],
    says: str,
) -> None:
    spoil(platform)
    with pytest.raises(TourFailed, match=says):
        tour()


def test_the_tour_fails_when_media_were_not_perceived(
    tour: Callable[[], str], platform: FakeHttpPlatform, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules["fake_http_platform"]._PERCEIVED, "image", {"labels": []})
    with pytest.raises(TourFailed, match="Nothing was perceived of the image: its 'labels' are empty"):
        tour()


def test_the_tour_says_when_nobody_answers(samples: Samples) -> None:
    with pytest.raises(TourFailed, match="Ask about a photo: No server answers at"):
        run_tour("http://127.0.0.1:1", samples, Console(file=StringIO()))
