"""A chat's stream made into the events of a response, in OpenAI's order, numbered without a gap."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from serving.responses.answer import log_probabilities, text_part
from serving.responses.ids import new_item_id
from serving.responses.store import Item
from serving.sse import Event

__all__ = ["ResponseEvents"]

_SEPARATOR = b"\n\n"
_DONE = b"[DONE]"
_PADDED_CHARACTERS = 16


class ResponseEvents:
    """Fed with the bytes of a chat's stream, gives those of a response's (``serving.sse.StreamRewriter``).

    ``rewrite`` sees every chunk first and raises what the engine reports. After the end, ``output``, ``reason``,
    ``usage`` and ``manymodal`` are what the chat brought. ``inputs`` items came with the request.
    """

    def __init__(
        self,
        response: Mapping[str, Any],
        inputs: int,
        rewrite: Callable[[Event], Event | None],
        *,
        obfuscated: bool,
    ) -> None:
        self._response = response
        self._inputs = inputs
        self._rewrite = rewrite
        self._obfuscated = obfuscated
        self._rest = b""
        self._sent: list[bytes] = []
        self._number = 0
        self._texts: list[str] = []
        self._logprobs: list[dict[str, Any]] = []
        self._call: int | None = None
        self._open = False
        self.output: list[Item] = []
        self.reason: str | None = None
        self.usage: Mapping[str, Any] | None = None
        self.manymodal: Mapping[str, Any] | None = None
        self.done = False
        self.failure: Exception | None = None

    def feed(self, chunk: bytes) -> bytes:
        """The events for ``chunk``; an event that is not yet whole is kept back."""
        try:
            if self._number == 0:
                self._emit("response.created", {"response": self._response})
                self._emit("response.in_progress", {"response": self._response})
            *events, self._rest = (self._rest + chunk).split(_SEPARATOR)
            for event in events:
                if not event.startswith(b"data:"):
                    continue
                if event[5:].strip() == _DONE:
                    self._finish()
                else:
                    self._see(msgspec.json.decode(event[5:], type=dict[str, Any]))
        except Exception as error:
            self.failure = error
        return self._taken()

    def closing(self, response: Mapping[str, Any]) -> bytes:
        """The last event: ``response`` has ended."""
        self._emit(f"response.{response['status']}", {"response": response})
        return self._taken()

    def failing(
        self, message: str, code: str | None, param: str | None, response: Mapping[str, Any]
    ) -> bytes:
        """The last events of a response that failed."""
        if self._number == 0:
            self._emit("response.created", {"response": self._response})
        self._emit("error", {"code": code, "message": message, "param": param})
        self._emit("response.failed", {"response": response})
        return self._taken()

    def _see(self, chunk: Event) -> None:
        seen = self._rewrite(chunk)
        if seen is None:
            return
        self.usage = seen.get("usage") or self.usage
        self.manymodal = seen.get("manymodal") or self.manymodal
        for choice in seen.get("choices") or ():
            delta = choice.get("delta") or {}
            text = delta.get("content")
            if text:
                self._text(text, log_probabilities(choice.get("logprobs")))
            for call in delta.get("tool_calls") or ():
                self._arguments(call)
            self.reason = choice.get("finish_reason") or self.reason

    def _text(self, text: str, logprobs: list[dict[str, Any]]) -> None:
        if not self._open or self._call is not None:
            self._close("completed")
            self._open_message()
        self._texts.append(text)
        self._logprobs += logprobs
        self._emit_delta(
            "response.output_text.delta", text, {"content_index": 0}, {"logprobs": _bare(logprobs)}
        )

    def _open_message(self) -> None:
        item = {"type": "message", "status": "in_progress", "role": "assistant", "content": []}
        self._begin(item)
        self._call = None
        self._emit("response.content_part.added", {**self._place(0), "part": text_part("", [])})

    def _arguments(self, call: Mapping[str, Any]) -> None:
        function = call.get("function") or {}
        number = call.get("index") or 0
        if not self._open or self._call != number:
            self._close("completed")
            self._begin(
                {
                    "type": "function_call",
                    "status": "in_progress",
                    "call_id": call.get("id") or f"call_{secrets.token_hex(12)}",
                    "name": function.get("name") or "",
                    "arguments": "",
                }
            )
            self._call = number
        piece = function.get("arguments")
        if piece:
            self._texts.append(piece)
            self._emit_delta("response.function_call_arguments.delta", piece, {}, {})

    def _begin(self, item: Item) -> None:
        number = self._inputs + len(self.output)
        named = {"id": new_item_id(str(self._response["id"]), item["type"], number), **item}
        self.output.append(named)
        self._open = True
        self._texts, self._logprobs = [], []
        self._emit("response.output_item.added", {"output_index": len(self.output) - 1, "item": named})

    def _close(self, status: str) -> None:
        """Finish the item that is being written, if there is one."""
        if not self._open:
            return
        self._open = False
        text, item = "".join(self._texts), self.output[-1]
        if item["type"] == "message":
            part = text_part(text, self._logprobs)
            place = self._place(0)
            self._emit(
                "response.output_text.done", {**place, "text": text, "logprobs": _bare(self._logprobs)}
            )
            self._emit("response.content_part.done", {**place, "part": part})
            item = {**item, "status": status, "content": [part]}
        else:
            done = {**self._place(), "name": item["name"], "arguments": text}
            self._emit("response.function_call_arguments.done", done)
            item = {**item, "status": status, "arguments": text}
        self.output[-1] = item
        self._emit("response.output_item.done", {"output_index": len(self.output) - 1, "item": item})

    def _finish(self) -> None:
        if not self.output:
            self._open_message()
        self._close("incomplete" if self.reason in ("length", "content_filter") else "completed")
        self.done = True

    def _place(self, content: int | None = None) -> dict[str, Any]:
        place: dict[str, Any] = {"item_id": self.output[-1]["id"], "output_index": len(self.output) - 1}
        return place if content is None else {**place, "content_index": content}

    def _emit_delta(self, kind: str, delta: str, place: dict[str, Any], more: dict[str, Any]) -> None:
        fields = {**self._place(), **place, "delta": delta, **more}
        if self._obfuscated:
            fields["obfuscation"] = secrets.token_hex(_PADDED_CHARACTERS)[: -len(delta) % _PADDED_CHARACTERS]
        self._emit(kind, fields)

    def _emit(self, kind: str, fields: Mapping[str, Any]) -> None:
        body = msgspec.json.encode({"type": kind, "sequence_number": self._number, **fields})
        self._sent.append(b"event: " + kind.encode() + b"\ndata: " + body + _SEPARATOR)
        self._number += 1

    def _taken(self) -> bytes:
        sent, self._sent = b"".join(self._sent), []
        return sent


def _bare(logprobs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Log-probabilities as OpenAI's events have them: without bytes."""
    return [
        {
            "token": entry["token"],
            "logprob": entry["logprob"],
            "top_logprobs": [
                {"token": one["token"], "logprob": one["logprob"]} for one in entry["top_logprobs"]
            ],
        }
        for entry in logprobs
    ]
