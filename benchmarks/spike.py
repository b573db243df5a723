"""Five times what the platform can do: who is refused is told when to come back, who is let in is answered whole.

The real application on real Ray behind Ray Serve's HAProxy, with a stand-in engine of fixed pace, so that its peak
is known: ``max_streams`` of each replica at once. Short answers are asked for at the rate of that peak, then at
five times as many, then few. Goodput is the tokens a second of answers that came whole and kept the platform's
objectives (first token, pace); nobody waits for a turn longer than these allow (``limits.turn_wait_seconds``).
Goals: every refusal is a 429 or 503 with Retry-After, no admitted stream is dropped, and goodput stays at 0.9 of
the peak's at least. ``make bench-spike``; exit code 1 when one is missed.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.numbered_streams import Answer, Arrivals, outcomes, read_answer, session, spread
from benchmarks.paced_deployments import Pace
from benchmarks.paced_platform import PacedPlatform, paced_settings
from benchmarks.report import write
from serving.slo import Slo

GOAL = 0.9
TIMES_PEAK = 5
TURN_WAIT_SECONDS = 0.35  # of the 0.5 to the first token
_REFUSALS = frozenset({429, 503})
_TOKENS = 16


@dataclass(frozen=True, slots=True)
class Phase:
    """Answers to what was asked for within a stretch of time, and the tokens that came within it."""

    seconds: float
    answers: tuple[Answer, ...]
    good_tokens: int
    slo_tokens: int

    @property
    def whole_per_second(self) -> float:
        """Tokens a second of answers that came whole."""
        return self.good_tokens / self.seconds

    @property
    def goodput(self) -> float:
        """The same of answers that kept the objectives, too."""
        return self.slo_tokens / self.seconds

    @property
    def dropped(self) -> int:
        """Answers that had begun and did not come to their end, told or not."""
        return sum(answer.admitted and answer.ended != "complete" for answer in self.answers)

    @property
    def wrongly_refused(self) -> int:
        """Those that were neither answered nor told, with 429 or 503, when to come back."""
        return sum(
            not answer.admitted and (answer.status not in _REFUSALS or answer.retry_after is None)
            for answer in self.answers
        )


async def spike(base_url: str, peak_per_second: float, seconds: float, tokens: int) -> dict[str, Phase]:
    """The phases ``peak``, ``spike`` and ``after``, each so long, one right after the other."""
    async with session(base_url) as client:
        arrivals = Arrivals(lambda answer: read_answer(client, tokens, answer))
        await read_answer(client, tokens)  # the first answer of a platform is slower than all that follow
        rates = {"peak": peak_per_second, "spike": TIMES_PEAK * peak_per_second, "after": peak_per_second / 4}
        begins: dict[str, float] = {}
        for name, rate in rates.items():
            begins[name] = time.perf_counter()
            await arrivals.run(rate, seconds)
        answers = await arrivals.settled()
    return {name: _phase(answers, begin, begin + seconds) for name, begin in begins.items()}


def _phase(answers: list[Answer], begins: float, ends: float) -> Phase:
    slo = Slo()

    def came(kept: bool) -> int:
        return sum(
            begins <= came_at < ends
            for answer in answers
            if answer.ended == "complete" and (not kept or _kept(answer, slo))
            for came_at in answer.token_times
        )

    asked = tuple(answer for answer in answers if begins <= answer.asked_at < ends)
    return Phase(ends - begins, asked, came(kept=False), came(kept=True))


def _kept(answer: Answer, slo: Slo) -> bool:
    seconds = answer.token_times[-1] - answer.asked_at
    return slo.is_met("text", answer.ttft_seconds, seconds, len(answer.numbers))


def main() -> int:
    """Measure, print, write ``results/spike.json``."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--seconds", type=float, default=30.0, help="of each phase")
    options.add_argument("--streams", type=int, default=8, help="of each of the two engine replicas")
    given = options.parse_args()
    pace = Pace(tokens=_TOKENS, tokens_per_second=12.0, first_token_seconds=0.05)
    answer_seconds = pace.first_token_seconds + (_TOKENS - 1) / pace.tokens_per_second
    peak = 2 * given.streams / answer_seconds
    with tempfile.TemporaryDirectory(prefix="manymodal-bench-") as folder:
        settings = paced_settings(
            Path(folder),
            chat={"max_streams": given.streams},
            limits={"turn_wait_seconds": TURN_WAIT_SECONDS},
            deployments={"gateway": {"num_replicas": 2}, "engine": {"num_replicas": 2}},
        )
        with PacedPlatform(settings, pace, Path(folder) / "log") as platform:
            phases = asyncio.run(spike(platform.base_url, peak, given.seconds, _TOKENS))
    share = phases["spike"].goodput / phases["peak"].goodput
    result: dict[str, Any] = {
        "phases": {name: _told(phase) for name, phase in phases.items()},
        "goodput_share": round(share, 4),
        "dropped": sum(phase.dropped for phase in phases.values()),
        "wrongly_refused": sum(phase.wrongly_refused for phase in phases.values()),
        "goals": {"goodput_share_min": GOAL, "dropped": 0, "wrongly_refused": 0},
        "settings": {
            "gateways": 2,
            "engines": 2,
            "streams_per_engine": given.streams,
            "turn_wait_seconds": TURN_WAIT_SECONDS,
            "peak_per_second": round(peak, 2),
            "ceiling_tokens_per_second": round(peak * _TOKENS, 1),
            "pace": asdict(pace),
        },
    }
    for name, phase in phases.items():
        print(
            f"{name}: {len(phase.answers)} asked, {outcomes(phase.answers)}, goodput {phase.goodput:.1f} tokens/s "
            f"({phase.whole_per_second:.1f} of all whole answers), dropped {phase.dropped}, wrongly refused "
            f"{phase.wrongly_refused}"
        )
    print(f"goodput in the spike: {share:.3f} of the peak's. Written to {write('spike', result)}")
    met = share >= GOAL and not result["dropped"] and not result["wrongly_refused"]
    return 0 if met else 1


def _told(phase: Phase) -> dict[str, Any]:
    refused = [answer.retry_after for answer in phase.answers if answer.retry_after is not None]
    return {
        "asked": len(phase.answers),
        "outcomes": outcomes(phase.answers),
        "goodput_tokens_per_second": round(phase.goodput, 2),
        "tokens_per_second_of_whole_answers": round(phase.whole_per_second, 2),
        "ttft_seconds": spread([a.ttft_seconds for a in phase.answers if a.token_times]),
        "refused_in_seconds": spread(
            [a.ended_at - a.asked_at for a in phase.answers if a.ended == "refused"]
        ),
        "retry_after_seconds": sorted(set(refused)),
        "messages": sorted({a.message for a in phase.answers if a.message})[:6],
    }


if __name__ == "__main__":
    sys.exit(main())
