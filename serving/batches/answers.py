"""Answers of a batch as lines of its files: OpenAI's form, exact bodies inside."""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, BinaryIO

import msgspec

from serving.batches.own_app import OwnAnswer
from serving.batches.records import Usage
from serving.spooling import written

__all__ = ["AnsweredLine", "answered_line", "unanswered_line", "write_files"]

# Allowed in JSON's strings, and ends of lines to many who read files of lines (Python's ``str.splitlines``).
_LINE_ENDS = tuple((end.encode(), f"\\u{ord(end):04x}".encode()) for end in "\u0085\u2028\u2029")
_GOOD, _BAD = b"+", b"-"  # before each line as it is kept: which file it belongs to


@dataclass(frozen=True, slots=True)
class AnsweredLine:
    """What is kept of one request's end: the line, with a mark before it that says which file it belongs to."""

    number: int
    is_good: bool
    line: bytes
    usage: Usage


class _Details(msgspec.Struct):
    cached_tokens: int | None = None
    reasoning_tokens: int | None = None


class _Tokens(msgspec.Struct):
    """Usage by the names of any endpoint."""

    input_tokens: int | None = None
    prompt_tokens: int | None = None
    output_tokens: int | None = None
    completion_tokens: int | None = None
    input_tokens_details: _Details | None = None
    prompt_tokens_details: _Details | None = None
    output_tokens_details: _Details | None = None
    completion_tokens_details: _Details | None = None


class _Answer(msgspec.Struct):
    usage: _Tokens | None = None


def answered_line(number: int, custom_id: str, answer: OwnAnswer | None) -> AnsweredLine:
    """The end of a request that was sent. Takes milliseconds for a body of megabytes."""
    if answer is None:
        return unanswered_line(
            number, custom_id, "server_error", "The server could not answer this request. Send it again."
        )
    try:
        body = msgspec.json.format(answer.body, indent=-1)  # one line, whatever it was
    except msgspec.DecodeError:
        body = msgspec.json.encode(answer.body.decode("utf-8", "replace"))
    response = {
        "status_code": answer.status,
        "request_id": answer.headers.get("x-request-id", ""),
        "body": msgspec.Raw(body),
    }
    is_good = 200 <= answer.status < 300
    line = _line(is_good, custom_id, response, None)
    return AnsweredLine(number, is_good, line, _usage(body) if is_good else Usage())


def unanswered_line(number: int, custom_id: str, code: str, message: str) -> AnsweredLine:
    """The end of a request that has no answer."""
    return AnsweredLine(
        number, False, _line(False, custom_id, None, {"code": code, "message": message}), Usage()
    )


def write_files(kept: Iterable[bytes], output: BinaryIO, errors: BinaryIO) -> None:
    """Sort kept lines into the two files. Blocks. Raises ``StoreUnavailable`` when there is no room."""
    for piece in kept:
        for line in piece.splitlines(keepends=True):
            written(output if line.startswith(_GOOD) else errors, line[1:])


def _line(
    is_good: bool, custom_id: str, response: dict[str, Any] | None, error: dict[str, str] | None
) -> bytes:
    line = msgspec.json.encode(
        {
            "id": f"batch_req_{secrets.token_hex(16)}",
            "custom_id": custom_id,
            "response": response,
            "error": error,
        }
    )
    for end, escaped in _LINE_ENDS:  # within strings: elsewhere they are no JSON
        line = line.replace(end, escaped)
    return (_GOOD if is_good else _BAD) + line + b"\n"


def _usage(body: bytes) -> Usage:
    try:
        tokens = msgspec.json.decode(body, type=_Answer).usage
    except msgspec.DecodeError:  # counts something else, seconds for one
        return Usage()
    if tokens is None:
        return Usage()
    read = tokens.input_tokens_details or tokens.prompt_tokens_details or _Details()
    wrote = tokens.output_tokens_details or tokens.completion_tokens_details or _Details()
    return Usage(
        tokens.input_tokens or tokens.prompt_tokens or 0,
        read.cached_tokens or 0,
        tokens.output_tokens or tokens.completion_tokens or 0,
        wrote.reasoning_tokens or 0,
    )
