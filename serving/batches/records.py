"""What a batch is, and how far it is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from storage.types import MediaRef

__all__ = ["Batch", "BatchState", "BatchStatus", "EndStatus", "Problem", "Usage", "state_fields", "state_of"]

EndStatus = Literal["completed", "failed", "expired", "cancelled"]
BatchStatus = Literal[
    "validating", "in_progress", "finalizing", "completed", "failed", "expired", "cancelled"
]
"""OpenAI's, but for ``cancelling``, which is not a state that is stored: it is asked for beside it."""


@dataclass(frozen=True, slots=True)
class Batch:
    """What was asked for. Times are seconds since the epoch; ``lifetime_seconds`` is the output files'."""

    id: str
    tenant: str
    endpoint: str
    input_file_id: str
    created_at_seconds: float
    expires_at_seconds: float
    lifetime_seconds: int | None
    metadata: Mapping[str, str] | None = None


@dataclass(frozen=True, slots=True)
class Problem:
    """Why a batch failed: OpenAI's ``BatchError``. ``line`` counts from 1."""

    code: str
    message: str
    param: str | None = None
    line: int | None = None


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens of all answers together."""

    input_tokens: int = 0
    cached_tokens: int = 0
    output_tokens: int = 0
    reasoning_tokens: int = 0

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            self.input_tokens + other.input_tokens,
            self.cached_tokens + other.cached_tokens,
            self.output_tokens + other.output_tokens,
            self.reasoning_tokens + other.reasoning_tokens,
        )


@dataclass(frozen=True, slots=True)
class BatchState:
    """An entry of a batch's log: how far the batch was when it was written. ``number`` counts entries.

    ``total`` requests are in the file; those below ``done_below`` and in the ranges ``done_above`` (first, after
    the last) are answered. ``answers`` names the object with what was answered since the entry before, of the given
    hash. ``ends_as`` is what the batch will be when its files are written; ``output`` and ``errors`` are received
    for them then.
    """

    status: BatchStatus = "validating"
    number: int = 0
    total: int = 0
    completed: int = 0
    failed: int = 0
    done_below: int = 0
    done_above: tuple[tuple[int, int], ...] = ()
    model: str | None = None
    usage: Usage = field(default_factory=Usage)
    answers: str | None = None
    answers_sha256: str | None = None
    in_progress_at_seconds: float | None = None
    finalizing_at_seconds: float | None = None
    cancelling_at_seconds: float | None = None
    ended_at_seconds: float | None = None
    ends_as: EndStatus | None = None
    output: MediaRef | None = None
    errors: MediaRef | None = None
    problems: tuple[Problem, ...] = ()


def state_fields(state: BatchState) -> dict[str, Any]:
    """An entry as it is stored."""
    return asdict(state)


def state_of(fields: Mapping[str, Any]) -> BatchState:
    """A stored entry. Raises ``KeyError``, ``TypeError`` or ``ValueError`` when it is none."""
    nested = {
        "done_above": tuple((int(first), int(end)) for first, end in fields["done_above"]),
        "usage": Usage(**fields["usage"]),
        "output": None if fields["output"] is None else MediaRef(**fields["output"]),
        "errors": None if fields["errors"] is None else MediaRef(**fields["errors"]),
        "problems": tuple(Problem(**one) for one in fields["problems"]),
    }
    return BatchState(**{**fields, **nested})
