"""Settings of bulk ingest."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["IngestConfig"]


@dataclass(frozen=True, slots=True)
class IngestConfig:
    """How much a gateway does at once, and how long it tries.

    Items are fetched one by one, stored and encoded ``group_items`` at a time, and written ``commit_rows`` rows at
    a time, or what there is after ``commit_wait_seconds``. ``queued_items`` wait between two stages at most.
    Labels of pictures, milliseconds to make again, are kept beside them only with ``keep_labels``: writing them
    durably takes a tenth of the time that making them does.

    ``attempts`` are made at what may pass, with random pauses of up to ``first_delay_seconds`` that double up to
    ``max_delay_seconds``.

    With ``waits_for_limits`` work goes on when the tenant's limits leave room again, however long that takes.

    A job is held by a lease that its gateway renews; ``lease_seconds`` after the last renewal another one takes it
    over. ``poll_seconds`` is how often gateways look for jobs that nobody runs. No item begins more than
    ``window_items`` after the first that has not ended, so that a checkpoint is small. Finished jobs are forgotten
    after ``retention_seconds``.
    """

    max_running_jobs: int = 2
    max_items: int = 5_000_000
    fetch_concurrency: int = 16
    store_concurrency: int = 4
    encode_concurrency: int = 2
    keep_labels: bool = False
    media_concurrency: int = 2
    group_items: int = 32
    queued_items: int = 64
    commit_rows: int = 512
    commit_wait_seconds: float = 1.0
    attempts: int = 6
    first_delay_seconds: float = 0.5
    max_delay_seconds: float = 30.0
    waits_for_limits: bool = True
    lease_seconds: float = 30.0
    poll_seconds: float = 5.0
    window_items: int = 10_000
    retention_seconds: float = 30 * 24 * 3600.0
