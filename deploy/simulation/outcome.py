"""What a run comes to: times to the first token, goodput, refusals."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from deploy.simulation.gateway import Record
from deploy.simulation.run import Run
from serving.slo import Slo

__all__ = ["KindOutcome", "Outcome", "first_token_seconds", "outcome_of", "percentile"]


@dataclass(frozen=True, slots=True)
class KindOutcome:
    """Requests of one kind. ``good`` were answered within the SLO, ``refused`` for good after all retries."""

    requests: int
    ttft_p50: float
    ttft_p95: float
    target: float
    good: int
    refused: int


@dataclass(frozen=True, slots=True)
class Outcome:
    """Rates are a second of the time that counts. ``goodput`` are tokens of answers within the SLO, ``throughput``
    of all answers that ended, ``asked`` of all that was asked for. ``pace`` is the median over answers of tokens
    a second after the first; ``streams`` the mean number of answers under way. ``coming_back`` is how many
    attempts were refused for each request.
    """

    kinds: Mapping[str, KindOutcome]
    asked: float
    throughput: float
    goodput: float
    pace: float
    streams: float
    refused_share: float
    coming_back: float
    unfinished: int

    @property
    def late(self) -> tuple[str, ...]:
        """Kinds whose first tokens come later than they should."""
        return tuple(kind for kind, one in self.kinds.items() if one.ttft_p95 > one.target)


def outcome_of(run: Run, slo: Slo) -> Outcome:
    """Count. A request without a first token yet is one that came infinitely late; one that has begun and not
    ended counts as neither good nor bad.
    """
    seconds = run.end - run.begin
    by_kind: dict[str, list[Record]] = {}
    for record in run.records:
        by_kind.setdefault(record.request.kind, []).append(record)
    kinds = {kind: _kind(kind, records, slo) for kind, records in sorted(by_kind.items())}
    ended = [one for one in run.records if one.ended is not None]
    paces = [
        (one.request.output_tokens - 1) / (one.ended - one.first_token)
        for one in ended
        if one.ended is not None and one.first_token is not None and one.ended > one.first_token
    ]
    streaming = sum(
        min(run.end, run.end if one.ended is None else one.ended) - one.first_token
        for one in run.records
        if one.first_token is not None and one.first_token < run.end
    )
    count = max(1, len(run.records))
    return Outcome(
        kinds=kinds,
        asked=_tokens(run.records) / seconds,
        throughput=_tokens(ended) / seconds,
        goodput=_tokens(one for one in ended if _is_good(one, slo)) / seconds,
        pace=percentile(paces, 50),
        streams=streaming / seconds,
        refused_share=sum(one.status is not None for one in run.records) / count,
        coming_back=sum(one.refusals for one in run.records) / count,
        unfinished=sum(one.ended is None and one.status is None for one in run.records),
    )


def first_token_seconds(records: Iterable[Record]) -> list[float]:
    """From a client's first attempt to its first token, of those that were not refused."""
    return [
        one.first_token - one.request.at_seconds if one.first_token is not None else float("inf")
        for one in records
        if one.status is None
    ]


def percentile(values: list[float], percent: float) -> float:
    """0 of nothing. Between two values the larger, so that infinity stays what it is."""
    return float(np.percentile(values, percent, method="higher")) if values else 0.0


def _kind(kind: str, records: list[Record], slo: Slo) -> KindOutcome:
    times = first_token_seconds(records)
    return KindOutcome(
        requests=len(records),
        ttft_p50=percentile(times, 50),
        ttft_p95=percentile(times, 95),
        target=slo.first_token(kind),
        good=sum(_is_good(one, slo) for one in records),
        refused=sum(one.status is not None for one in records),
    )


def _is_good(record: Record, slo: Slo) -> bool:
    if record.first_token is None or record.ended is None:
        return False
    begun = record.request.at_seconds
    return slo.is_met(
        record.request.kind,
        record.first_token - begun,
        record.ended - begun,
        record.request.output_tokens,
    )


def _tokens(records: Iterable[Record]) -> int:
    return sum(one.request.output_tokens for one in records)
