"""One answer of the model on the clock: its first token, its pace, its end, and whether all of that was good."""

from __future__ import annotations

import time

from serving import tracing
from serving.metrics import GatewayMetrics

__all__ = ["AnswerMeter"]


class AnswerMeter:
    """Made when a request has been understood; ``started`` is when it came (``time.perf_counter``)."""

    def __init__(self, metrics: GatewayMetrics, modality: str, started: float) -> None:
        self._metrics = metrics
        self._modality = modality
        self._started = started
        self._first: float | None = None
        self._last = 0.0
        self._tokens = 0
        self._gaps = metrics.between_tokens.labels(modality)

    def piece(self) -> None:
        """A piece of the streamed answer has been sent: the first token, or what comes after it."""
        now = time.perf_counter()
        if self._first is None:
            self._first = now
            self._metrics.first_token.labels(self._modality).observe(now - self._started)
            tracing.event("first_token")
        else:
            self._gaps.observe(now - self._last)
        self._last = now

    def count(self, completion_tokens: object) -> None:
        """So many tokens were written, as the engine says."""
        if isinstance(completion_tokens, int) and completion_tokens >= 0:
            self._tokens = completion_tokens

    def end(self) -> None:
        """The answer is whole."""
        last = time.perf_counter() if self._first is None else self._last
        seconds = last - self._started
        first = None if self._first is None else self._first - self._started
        metrics, modality = self._metrics, self._modality
        metrics.generation.labels(modality).observe(seconds)
        if first is not None and self._tokens > 1:
            metrics.per_token.labels(modality).observe((seconds - first) / (self._tokens - 1))
        good = metrics.slo.is_met(modality, first, seconds, self._tokens)
        metrics.answers.labels(modality, "met" if good else "missed").inc()
        if good:
            metrics.goodput.labels(modality).inc(self._tokens)
