"""A working stand-in for vLLM's server, which can be told to stall, to fail and to die."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from typing import Any

from serving.errors import EngineUnavailable
from serving.services import Attachment, EngineResponse

__all__ = ["FakeEngine"]


class FakeEngine:
    """``serving.services.ChatEngine`` that answers as vLLM's server does, fields of its own included.

    It calls the function that it must call. Knobs: ``words`` of the answer, ``arguments`` of a call,
    ``unavailable_times`` (raises so often first), ``refusal`` (status and error body),
    ``stall_after``/``die_after``/``error_after`` so many chunks, ``pause_seconds`` between chunks. ``failure`` is
    raised.
    """

    def __init__(self) -> None:
        self.words = ("A ", "cat ", "sits.")
        self.arguments = '{"city": "Paris"}'
        self.failure: Exception | None = None
        self.unavailable_times = 0
        self.refusal: tuple[int, dict[str, Any]] | None = None
        self.stall_after: int | None = None
        self.die_after: int | None = None
        self.error_after: int | None = None
        self.pause_seconds = 0.0
        self.is_ready = True
        self.requests: list[dict[str, Any]] = []
        self.headers: list[Mapping[str, str]] = []
        self.attachments: list[tuple[Attachment, ...]] = []
        self.closed = asyncio.Event()
        self.running = 0

    async def request(
        self,
        method: str,
        path: str,
        headers: Mapping[str, str],
        body: bytes,
        attachments: tuple[Attachment, ...] = (),
    ) -> AsyncIterator[EngineResponse | bytes]:
        if path == "/metrics":
            yield EngineResponse(200, (("content-type", "text/plain"),))
            yield b"vllm:num_requests_running 0.0\n"
            return
        if self.unavailable_times:
            self.unavailable_times -= 1
            raise EngineUnavailable("The model is restarting.")
        if self.failure is not None:
            raise self.failure
        asked = json.loads(body)
        self.requests.append(asked)
        self.headers.append(headers)
        self.attachments.append(attachments)
        self.running += 1
        try:
            if self.refusal is not None:
                status, error = self.refusal
                yield EngineResponse(status, (("content-type", "application/json"),))
                yield json.dumps({"error": error}).encode()
            elif asked.get("stream"):
                yield EngineResponse(200, (("content-type", "text/event-stream; charset=utf-8"),))
                async for event in self._events(asked):
                    yield event
            else:
                yield EngineResponse(200, (("content-type", "application/json"),))
                if self.stall_after is not None:
                    await asyncio.Event().wait()
                yield json.dumps(self._whole(asked)).encode()
        finally:
            self.running -= 1
            self.closed.set()

    async def ready(self) -> bool:
        return self.is_ready

    def _usage(self) -> dict[str, Any]:
        return {
            "prompt_tokens": 200,
            "total_tokens": 203,
            "completion_tokens": 3,
            "prompt_tokens_details": {"cached_tokens": 0, "created_cache_tokens": 128},
        }

    def _whole(self, asked: dict[str, Any]) -> dict[str, Any]:
        message: dict[str, Any] = {
            "role": "assistant",
            "content": "".join(self.words),
            "refusal": None,
            "annotations": None,
            "audio": None,
            "function_call": None,
            "reasoning": None,
        }
        call = self._called(asked)
        if call is not None:
            function = {"name": call[0], "arguments": self.arguments}
            message |= {
                "content": "",
                "tool_calls": [{"id": "call-1", "type": "function", "function": function}],
            }
        choices = [
            {
                "index": index,
                "message": message,
                "logprobs": {"content": [self._logprob(asked, word) for word in self.words]}
                if asked.get("logprobs")
                else None,
                "finish_reason": "stop" if call is None else call[1],
                "stop_reason": None,
                "token_ids": None,
                "routed_experts": None,
            }
            for index in range(asked.get("n") or 1)
        ]
        return {
            "id": "chatcmpl-1",
            "object": "chat.completion",
            "created": 1,
            "model": asked["model"],
            "choices": choices,
            "service_tier": None,
            "system_fingerprint": "vllm-fake",
            "usage": self._usage() | {"completion_tokens_details": None},
            "prompt_logprobs": None,
            "prompt_token_ids": None,
            "kv_transfer_params": None,
        }

    def _called(self, asked: dict[str, Any]) -> tuple[str, str] | None:
        """The function that is called and why the answer then ends, where one must be called."""
        choice = asked.get("tool_choice")
        if isinstance(choice, dict):
            return choice["function"]["name"], "stop"
        return (asked["tools"][0]["function"]["name"], "tool_calls") if choice == "required" else None

    def _logprob(self, asked: dict[str, Any], word: str) -> dict[str, Any]:
        one = {"token": word, "logprob": -0.5, "bytes": list(word.encode())}
        return {**one, "top_logprobs": [one] * min(1, asked.get("top_logprobs") or 0)}

    async def _events(self, asked: dict[str, Any]) -> AsyncIterator[bytes]:
        def event(choices: list[dict[str, Any]], **extra: Any) -> bytes:
            head = {
                "id": "chatcmpl-1",
                "object": "chat.completion.chunk",
                "created": 1,
                "model": asked["model"],
            }
            body = json.dumps({**head, "choices": choices, **extra}, separators=(",", ":"))
            return f"data: {body}\n\n".encode()

        def choice(delta: dict[str, Any], reason: str | None = None) -> list[dict[str, Any]]:
            ends = {} if reason is None else {"stop_reason": None}
            word = delta.get("content")
            logprobs = {"content": [self._logprob(asked, word)]} if asked.get("logprobs") and word else None
            head = {"index": 0, "delta": delta, "logprobs": logprobs, "finish_reason": reason}
            return [{**head, **ends, "token_ids": None}]

        opening = {"role": "assistant", "content": ""}
        yield event(choice(opening), prompt_token_ids=None, prompt_text=None)
        call = self._called(asked)
        if call is not None:
            for part in (
                {"name": call[0]},
                *({"arguments": piece} for piece in self.arguments.partition(":")),
            ):
                started = {"id": "call-1", "type": "function"} if "name" in part else {}
                yield event(
                    choice({"content": None, "tool_calls": [{**started, "index": 0, "function": part}]})
                )
            yield event(choice({}, call[1]))
            if (asked.get("stream_options") or {}).get("include_usage"):
                yield event([], usage=self._usage(), system_fingerprint="vllm-fake")
            yield b"data: [DONE]\n\n"
            return
        for count, word in enumerate(self.words):
            if count == self.stall_after:
                await asyncio.Event().wait()
            if count == self.die_after:
                return
            if count == self.error_after:
                error = {"message": "EngineCore at 10.0.0.3 died", "type": "InternalServerError", "code": 500}
                yield (
                    event(choice({"content": "last "}))
                    + b"data: "
                    + json.dumps({"error": error}).encode()
                    + b"\n\n"
                )
                yield b"data: [DONE]\n\n"
                return
            if self.pause_seconds:
                await asyncio.sleep(self.pause_seconds)
            yield event(choice({"content": word}))
        yield event(choice({"content": ""}, "stop"))
        if (asked.get("stream_options") or {}).get("include_usage"):
            yield event([], usage=self._usage(), system_fingerprint="vllm-fake")
        yield b"data: [DONE]\n\n"
