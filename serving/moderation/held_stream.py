"""The events of a streamed answer, held back until their text may be shown.

A choice that is refused ends with ``finish_reason: content_filter`` and none of what was held.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from serving.moderation.held_text import HeldText
from serving.sse import DONE, Event

__all__ = ["FILTERED", "HeldStream", "Question", "written"]

FILTERED = "content_filter"
"""How a refused choice ends, OpenAI's word."""

_EVENT_END = b"\n\n"
_MOST_AHEAD = 256  # characters


@dataclass(frozen=True, slots=True)
class Question:
    """What is to be judged of a choice, and up to where it was written."""

    choice: int
    text: str
    end: int


@dataclass(slots=True)
class _Held:
    """An event, and how far its choices' texts must be shown before it is."""

    event: Event | None
    raw: bytes
    needs: dict[int, int] = field(default_factory=dict)
    changed: bool = False

    def without(self, choice: int) -> bool:
        """Take a refused choice out; whether anything is left."""
        if choice in self.needs and self.event is not None:
            del self.needs[choice]
            self.event["choices"] = [one for one in self.event["choices"] if one.get("index") != choice]
            self.changed = True
            return bool(self.event["choices"])
        return True

    def encoded(self) -> bytes:
        if self.changed and self.event is not None:
            return b"data: " + msgspec.json.encode(self.event) + _EVENT_END
        return self.raw + _EVENT_END


class HeldStream:
    """Takes the engine's bytes, gives what may be sent. ``choices`` is how many answers were asked for."""

    def __init__(self, choices: int) -> None:
        self._choices = choices
        self._rest = b""
        self._held: deque[_Held] = deque()
        self._texts: dict[int, HeldText] = {}
        self._fields: dict[int, str] = {}
        self._ahead: dict[int, int] = {}
        self._refused: set[int] = set()
        self._head: Event = {}
        self._usage: Any = None
        self._done = False
        self.held_bytes = 0

    @property
    def over(self) -> bool:
        """Whether every choice was refused: nothing that the engine writes will be shown."""
        return len(self._refused) >= self._choices

    @property
    def settled(self) -> bool:
        """Whether nothing is left to be judged, once ``finish`` was called."""
        return all(text.settled for text in self._texts.values())

    def feed(self, chunk: bytes) -> None:
        """Take bytes of the engine's stream, which may end amid an event."""
        *events, self._rest = (self._rest + chunk).split(_EVENT_END)
        for raw in filter(None, events):
            self._take_in(raw)

    def finish(self) -> None:
        """No more will come: what has come is all there is to judge."""
        for text in self._texts.values():
            text.complete = True

    def questions(self) -> list[Question]:
        """What is to be judged now, one piece of each choice."""
        found = []
        for choice, text in self._texts.items():
            asked = text.question()
            if asked is not None:
                found.append(Question(choice, *asked))
        return found

    def settle(self, question: Question, category: str | None) -> None:
        """The answer to a question: the category that forbids it, or ``None``."""
        if category is None:
            self._texts[question.choice].clear(question.end)
            return
        choice = question.choice
        del self._texts[choice]
        self._refused.add(choice)
        self._held = deque(one for one in self._held if one.without(choice))
        self.held_bytes = sum(len(one.raw) for one in self._held)
        ended = {"index": choice, "delta": {}, "logprobs": None, "finish_reason": FILTERED}
        self._hold(_Held({**self._head, "choices": [ended]}, b"", changed=True))

    def take(self) -> bytes:
        """What may be sent now."""
        out = b""
        while self._held and all(self._texts[c].shows(end) for c, end in self._held[0].needs.items()):
            one = self._held.popleft()
            self.held_bytes -= len(one.raw)
            out += one.encoded()
        return out

    def ending(self) -> bytes:
        """What is sent after the last choice was refused, in place of what the engine would have sent."""
        if self._done:
            return b""
        usage = b""
        if self._usage is not None:
            event = {**self._head, "choices": [], "usage": self._usage}
            usage = b"data: " + msgspec.json.encode(event) + _EVENT_END
        return usage + DONE

    def _hold(self, held: _Held) -> None:
        self._held.append(held)
        self.held_bytes += len(held.raw)

    def _take_in(self, raw: bytes) -> None:
        event = _decoded(raw)
        choices = event.get("choices") if event is not None else None
        if event is None or not choices:
            self._done = self._done or raw == DONE.strip()
            if event is not None and event.get("usage") is not None:
                self._usage = None  # told already
            self._hold(_Held(None, raw))
            return
        held = _Held(event, raw)
        self._head = {name: event[name] for name in event if name not in ("choices", "usage")}
        if event.get("usage") is not None:  # so far; asked for by the gateway, and not by the client
            self._usage = event.pop("usage")
            held.changed = True
        for choice in list(choices):
            index = choice["index"]
            held.needs[index] = 0
            if index in self._refused:
                if not held.without(index):
                    return
                continue
            text = self._texts.setdefault(index, HeldText())
            before = text.length
            for name, piece in written(choice.get("delta") or {}):
                if self._fields.setdefault(index, name) != name:
                    self._fields[index] = name
                    text.text += "\n"  # one field's last word does not go on in the next
                text.text += piece
            text.complete = text.complete or bool(choice.get("finish_reason"))
            held.needs[index] = text.length + self._tokens_ahead(choice, text.length - before)
        self._hold(held)

    def _tokens_ahead(self, choice: Event, written: int) -> int:
        """By how many characters, about, the tokens that ``logprobs`` show are ahead of the text: the engine keeps
        text back that may become a stop sequence, and half characters.
        """
        tokens = (choice.get("logprobs") or {}).get("content") or ()
        index = choice["index"]
        ahead = self._ahead.get(index, 0) - written + sum(len(one["token"]) for one in tokens)
        self._ahead[index] = min(max(0, ahead), _MOST_AHEAD) if tokens else 0
        return self._ahead[index]


def written(message: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """All that a model wrote in a message or a piece of one, by field: its answer, its reasoning, its calls."""
    for name in ("reasoning", "reasoning_content", "content", "refusal"):
        if isinstance(piece := message.get(name), str) and piece:
            yield name, piece
    calls = list(message.get("tool_calls") or ())
    if message.get("function_call"):
        calls.append({"function": message["function_call"]})
    for place, call in enumerate(calls):
        function = call.get("function") or {}
        for name in ("name", "arguments"):
            if isinstance(piece := function.get(name), str) and piece:
                yield f"tool_calls[{call.get('index', place)}].{name}", piece


def _decoded(raw: bytes) -> Event | None:
    """An event of the engine's that is an object; ``None`` for the end mark and comments."""
    if not raw.startswith(b"data:"):
        return None
    try:
        event = msgspec.json.decode(raw[5:])
    except msgspec.DecodeError:
        return None
    return event if isinstance(event, dict) else None
