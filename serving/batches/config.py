"""Settings of batches."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["BatchConfig"]


@dataclass(frozen=True, slots=True)
class BatchConfig:
    """What a batch may be, and how much of batches a gateway does at once.

    ``max_requests`` and ``max_file_bytes`` are OpenAI's, and so is the day within which a batch is
    answered. ``max_errors`` of a file that is refused are told. A tenant may have ``max_unfinished`` batches.

    ``requests_at_once`` are under way in one gateway, of all batches together: few, so that people who wait find
    room beside them. Tenants take turns. ``workers`` is how many of one batch are under way or wait to be tried
    again. ``running_batches`` are open at once, ``running_per_tenant`` of one tenant.

    Answers are kept durably after ``checkpoint_seconds``, ``checkpoint_answers`` or ``checkpoint_bytes``, whatever
    comes first; what was answered since is asked again after a crash.

    ``attempts`` are made at a request that is told to come back later, with random pauses of up to
    ``first_delay_seconds`` that double up to ``max_delay_seconds``; or for as long as the answer says, up to the
    latter. One that takes longer than ``request_timeout_seconds`` counts as busy.

    ``lease_seconds`` and ``poll_seconds`` are as in ``serving.ingest.config``. Batches are forgotten
    ``retention_seconds`` after their end, and their files are gone by then.
    """

    max_requests: int = 50_000
    max_file_bytes: int = 200_000_000
    max_errors: int = 100
    max_unfinished: int = 100
    window_seconds: int = 24 * 3600
    requests_at_once: int = 4
    workers: int = 4
    running_batches: int = 32
    running_per_tenant: int = 2
    checkpoint_seconds: float = 5.0
    checkpoint_answers: int = 256
    checkpoint_bytes: int = 4 << 20
    attempts: int = 8
    first_delay_seconds: float = 1.0
    max_delay_seconds: float = 60.0
    request_timeout_seconds: float = 1200.0
    lease_seconds: float = 30.0
    poll_seconds: float = 5.0
    retention_seconds: float = 30 * 24 * 3600.0
