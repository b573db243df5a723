"""What is held back of a streamed answer: nothing is shown that was not judged with what stands around it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from serving.moderation.held_stream import FILTERED, HeldStream

Judge = Callable[[str], bool]

_WORDS = st.sampled_from(["a", "cat", "sits", "bad", "badge", "very", "good", "end.", "x" * 30])
_TEXTS = st.builds(
    lambda words, gaps: "".join(word + gap for word, gap in zip(words, gaps, strict=False)),
    st.lists(_WORDS, min_size=1, max_size=60),
    st.lists(st.sampled_from([" ", "  ", "\n", ""]), min_size=60, max_size=60),
)


def event(text: str | None, choice: int = 0, reason: str | None = None, **more: object) -> bytes:
    delta = {} if text is None else {"content": text}
    body = {
        "id": "c",
        "choices": [{"index": choice, "delta": delta, "logprobs": None, "finish_reason": reason}],
        **more,
    }
    return b"data: " + json.dumps(body).encode() + b"\n\n"


def pieces(text: str, cuts: Iterable[int]) -> list[str]:
    places = sorted({0, len(text), *(cut % (len(text) + 1) for cut in cuts)})
    return [text[a:b] for a, b in pairwise(places)]


def run(stream: HeldStream, chunks: Iterable[bytes], forbidden: Judge, asked: list[str]) -> bytes:
    """The stream as it is driven: a question is answered before the next chunk comes."""
    sent = b""

    def settle() -> None:
        nonlocal sent
        while not stream.over and (questions := stream.questions()):
            for question in questions:
                asked.append(question.text)
                stream.settle(question, "hate" if forbidden(question.text) else None)
            sent += stream.take()
        sent += stream.take()

    for chunk in chunks:
        stream.feed(chunk)
        settle()
        if stream.over:
            return sent + stream.ending()
    stream.finish()
    settle()
    return sent + (stream.ending() if stream.over else b"")


def shown(sent: bytes, choice: int = 0) -> tuple[str, list[str]]:
    """The text of a choice, and how it ended."""
    text, reasons = "", []
    for raw in sent.split(b"\n\n"):
        if raw.startswith(b"data: {"):
            for one in json.loads(raw[6:])["choices"]:
                if one["index"] == choice:
                    text += one["delta"].get("content", "")
                    reasons += [one["finish_reason"]] if one["finish_reason"] else []
    return text, reasons


def says_bad(text: str) -> bool:
    return "bad" in text.split()


@given(_TEXTS, st.lists(st.integers(0, 2000), max_size=40), st.integers(1, 700))
def test_harmless_text_passes_whole_and_bytes_are_unchanged(text: str, cuts: list[int], size: int) -> None:
    whole = b"".join(
        (*(event(piece) for piece in pieces(text, cuts)), event(None, reason="stop"), b"data: [DONE]\n\n")
    )
    chunks = [whole[start : start + size] for start in range(0, len(whole), size)]
    stream = HeldStream(1)
    assert run(stream, chunks, lambda _: False, []) == whole
    assert stream.held_bytes == 0
    assert stream.settled


@given(_TEXTS, st.lists(st.integers(0, 2000), max_size=40))
def test_nothing_forbidden_is_shown_however_the_text_is_cut(text: str, cuts: list[int]) -> None:
    chunks = [event(piece) for piece in pieces(text, cuts)]
    sent = run(HeldStream(1), (*chunks, event(None, reason="stop"), b"data: [DONE]\n\n"), says_bad, [])
    seen, reasons = shown(sent)
    assert text.startswith(seen)
    assert sent.endswith(b"data: [DONE]\n\n")
    assert sent.count(b"[DONE]") == 1
    if says_bad(text):
        # Half a word may be shown of one that was judged whole: "bad" of "badge".
        words = seen.split()
        amid_a_word = seen[-1:].strip() and text[len(seen) :][:1].strip()
        assert "bad" not in (words[:-1] if amid_a_word else words)
        assert reasons == [FILTERED]
    else:
        assert (seen, reasons) == (text, ["stop"])


def test_the_words_before_a_forbidden_one_are_held_too() -> None:
    chunks = [event(f"{word} ") for word in [*"123456", "you", "are", "bad", "indeed"]]
    seen, reasons = shown(run(HeldStream(1), chunks, says_bad, []))
    assert seen.split() == [*"12345"]
    assert reasons == [FILTERED]


def test_a_word_is_judged_whole_and_with_the_thirty_before_it() -> None:
    asked: list[str] = []
    words = [f"w{number}" for number in range(100)]
    chunks = [event(part) for word in words for part in (word[:1], word[1:] + " ")]
    assert shown(run(HeldStream(1), chunks, lambda _: False, asked))[0].split() == words
    assert set(" ".join(asked).split()) == set(words)
    assert all(len(question.split()) >= 40 for question in asked[60:])
    assert len(asked) < 60  # they grow: not one for each word


def test_text_without_spaces_is_not_held_for_ever() -> None:
    chunks = [*(event("言" * 10) for _ in range(20)), event(None, reason="stop")]
    assert len(shown(run(HeldStream(1), chunks, lambda _: False, []))[0]) == 200
    stream = HeldStream(1)
    for _ in range(20):
        stream.feed(event("言" * 10))
        for question in stream.questions():
            stream.settle(question, None)
    assert len(shown(stream.take())[0]) >= 100


def test_one_of_two_choices_ends_and_the_other_goes_on() -> None:
    chunks = [
        event("fine ", 0, usage={"completion_tokens": 1}),
        event("bad ", 1),
        event("words here ", 0),
        event("more bad ", 1),
        event(None, 1, "stop"),
        event("to the end", 0),
        event(None, 0, "stop"),
        b'data: {"id":"c","choices":[],"usage":{"completion_tokens":9}}\n\n',
        b"data: [DONE]\n\n",
    ]
    sent = run(HeldStream(2), chunks, says_bad, [])
    assert shown(sent, 0) == ("fine words here to the end", ["stop"])
    assert shown(sent, 1) == ("", [FILTERED])
    assert sent.count(b'"usage"') == 1
    assert sent.endswith(b"data: [DONE]\n\n")


def test_an_answer_that_is_cut_tells_the_tokens_so_far() -> None:
    chunks = [event("a ", usage={"completion_tokens": 1}), event("bad ", usage={"completion_tokens": 2})]
    sent = run(HeldStream(1), chunks, says_bad, [])
    last = json.loads(sent.split(b"\n\n")[-3][6:])
    assert (last["choices"], last["usage"]) == ([], {"completion_tokens": 2})
    assert sent.endswith(b"data: [DONE]\n\n")
    assert shown(sent) == ("", [FILTERED])


def test_what_is_refused_at_the_very_end_is_ended_once() -> None:
    chunks = [
        event("a bad"),
        event(None, reason="stop"),
        b'data: {"choices":[],"usage":{"completion_tokens":9}}\n\ndata: [DONE]\n\n',
    ]
    stream = HeldStream(1)
    for chunk in chunks:
        stream.feed(chunk)
    for question in stream.questions():
        stream.settle(question, "hate")
    sent = stream.take() + stream.ending()
    assert (sent.count(b"usage"), sent.count(b"[DONE]")) == (1, 1)
    assert shown(sent) == ("", [FILTERED])


def test_calls_and_reasoning_are_judged_too() -> None:
    def delta(**fields: object) -> bytes:
        return b"data: " + json.dumps({"choices": [{"index": 0, "delta": fields}]}).encode() + b"\n\n"

    call = [{"index": 0, "function": {"name": "say", "arguments": '{"text": "so '}}]
    rest = [{"index": 0, "function": {"arguments": 'bad "}'}}]
    for chunks in ([delta(reasoning="this is bad ")], [delta(tool_calls=call), delta(tool_calls=rest)]):
        sent = run(HeldStream(1), chunks, says_bad, [])
        assert b"bad" not in sent
        assert FILTERED.encode() in sent


def test_tokens_that_are_ahead_of_their_text_wait_for_it() -> None:
    """The engine keeps text back that may become a stop sequence, but not its ``logprobs``."""
    stream = HeldStream(1)

    def tokens(*given: str) -> dict[str, object]:
        return {"content": [{"token": token, "logprob": -1.0} for token in given]}

    def chunk(text: str, *given: str) -> bytes:
        choice = {"index": 0, "delta": {"content": text}, "logprobs": tokens(*given), "finish_reason": None}
        return b"data: " + json.dumps({"choices": [choice]}).encode() + b"\n\n"

    asked: list[str] = []
    chunks = [
        chunk("", "you ", "bad "),
        chunk("", "cat "),
        chunk("you bad cat ", "sits "),
        event(None, reason="stop"),
    ]
    sent = run(stream, chunks, lambda text: "bad" in text, asked)
    assert asked
    assert b"bad" not in sent
    fine = [
        chunk("", "a "),
        chunk("a ", "cat "),
        chunk("cat ", ""),
        event(None, reason="stop"),
        b"data: [DONE]\n\n",
    ]
    assert run(HeldStream(1), fine, lambda text: False, asked) == b"".join(fine)


def test_endless_space_is_not_held_for_ever() -> None:
    stream = HeldStream(1)
    for chunk in [event("a "), *[event(" " * 10)] * 100]:
        stream.feed(chunk)
        for question in stream.questions():
            stream.settle(question, None)
        stream.take()
        assert stream.held_bytes < 20 * len(chunk)
