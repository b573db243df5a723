"""The requests of a batch's input file: read line by line in bounded memory, and checked before any is answered."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import msgspec

from serving.batches.config import BatchConfig
from serving.batches.records import Problem

__all__ = ["Checked", "Line", "Request", "check", "lines_of", "request_of"]

_MAX_CUSTOM_ID_CHARACTERS = 512
_READ_BYTES = 256 << 10


@dataclass(frozen=True, slots=True)
class Line:
    """A line that is not blank. ``number`` counts these from 0, ``place`` all lines from 1. ``data`` is ``None``
    for one that is too long.
    """

    number: int
    place: int
    data: bytes | None


@dataclass(frozen=True, slots=True)
class Checked:
    """What a file holds: so many requests, to one model, if nothing is wrong with it."""

    total: int
    model: str | None
    problems: tuple[Problem, ...]


@dataclass(frozen=True, slots=True)
class Request:
    """A line that was checked: its number, the name its answer has, and the body to send."""

    number: int
    custom_id: str
    body: bytes


class _Line(msgspec.Struct):
    custom_id: Any = None
    method: Any = None
    url: Any = None
    body: msgspec.Raw = msgspec.Raw()


class _Body(msgspec.Struct):
    model: Any = None
    stream: Any = None


def lines_of(pieces: Iterable[bytes], max_line_bytes: int) -> Iterator[Line]:
    """Lines of a file that comes in pieces."""
    number = place = 0
    for data in _raw_lines(pieces, max_line_bytes):
        place += 1
        if data is not None:
            if place == 1:
                data = data.removeprefix(b"\xef\xbb\xbf")  # a byte order mark, as Windows writes it
            data = data.strip()
            if not data:
                continue
        yield Line(number, place, data)
        number += 1


def check(lines: Iterable[Line], endpoint: str, max_line_bytes: int, config: BatchConfig) -> Checked:
    """See whether a batch can be made of these lines. Blocks for as long as reading them takes."""
    problems: list[Problem] = []
    places: set[str] = set()
    total = 0
    model: str | None = None
    for line in lines:
        total += 1
        if total > config.max_requests:
            message = f"The input file has more than {config.max_requests} requests (max_requests)."
            return Checked(total, None, (Problem("too_many_tasks", message),))
        found = _checked(line, endpoint, max_line_bytes)
        if isinstance(found, Problem):
            problems.append(found)
        else:
            custom_id, named = found
            if custom_id in places:
                problems.append(
                    Problem(
                        "duplicate_custom_id",
                        "Another request before this one has the same custom_id; each needs its own.",
                        "custom_id",
                        line.place,
                    )
                )
            places.add(custom_id)
            if named is not None and model not in (None, named):
                message = "This request names another model than those before; a batch is for one model."
                problems.append(Problem("mismatched_model", message, "body.model", line.place))
            model = model or named
        if len(problems) >= config.max_errors:
            break
    if total == 0:
        problems.append(Problem("empty_file", "The input file is empty: a batch needs at least one request."))
    return Checked(total, model, tuple(problems))


def request_of(line: Line) -> Request:
    """A line that was found good. Raises ``ValueError`` or ``msgspec.DecodeError`` when it is another one now."""
    if line.data is None:
        raise ValueError("too long")
    found = msgspec.json.decode(line.data, type=_Line)
    if not isinstance(found.custom_id, str) or not bytes(found.body):
        raise ValueError("no request")
    return Request(line.number, found.custom_id, bytes(found.body))


def _checked(line: Line, endpoint: str, max_line_bytes: int) -> Problem | tuple[str, str | None]:
    """The custom id and the model; or what is wrong."""

    def problem(code: str, message: str, param: str | None = None) -> Problem:
        return Problem(code, message, param, line.place)

    if line.data is None:
        return problem("line_too_long", f"This line is longer than {max_line_bytes} bytes.")
    try:
        if line.data[:1] != b"{":
            raise msgspec.DecodeError
        found = msgspec.json.decode(line.data, type=_Line)
        line.data.decode()
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return problem("invalid_json_line", "This line is not a JSON object.")
    has_body = bytes(found.body) not in (b"", b"null")
    for name, value in (
        ("custom_id", found.custom_id),
        ("method", found.method),
        ("url", found.url),
        ("body", has_body or None),
    ):
        if value is None:
            return problem("missing_required_parameter", f"Missing required parameter: '{name}'.", name)
    custom_id = found.custom_id
    if not isinstance(custom_id, str) or not 0 < len(custom_id) <= _MAX_CUSTOM_ID_CHARACTERS:
        message = f"The custom_id must be a string of 1 to {_MAX_CUSTOM_ID_CHARACTERS} characters."
        return problem("invalid_custom_id", message, "custom_id")
    if found.method != "POST":
        return problem("invalid_method", "The method must be 'POST'.", "method")
    if found.url != endpoint:
        return problem("mismatched_url", f"The url must be the batch's endpoint, '{endpoint}'.", "url")
    try:
        body = msgspec.json.decode(found.body, type=_Body)
    except (msgspec.DecodeError, RecursionError):
        return problem("invalid_body", "The body must be a JSON object.", "body")
    if body.stream:
        return problem("stream_not_supported", "Answers in a batch cannot be streamed.", "body.stream")
    return custom_id, body.model if isinstance(body.model, str) else None


def _raw_lines(pieces: Iterable[bytes], max_line_bytes: int) -> Iterator[bytes | None]:
    rest = bytearray()
    too_long = False
    for large in pieces:
        for start in range(0, len(large), _READ_BYTES):
            *whole, last = large[start : start + _READ_BYTES].split(b"\n")
            for piece in whole:
                rest += piece
                yield None if too_long or len(rest) > max_line_bytes else bytes(rest)
                rest.clear()
                too_long = False
            rest += last
            if len(rest) > max_line_bytes:
                too_long = True
                rest.clear()
    if too_long or rest:
        yield None if too_long else bytes(rest)
