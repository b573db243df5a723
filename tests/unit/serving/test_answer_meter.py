"""An answer on the clock, and which answers are good."""

from __future__ import annotations

import pytest

from serving import answer_meter
from serving.answer_meter import AnswerMeter
from serving.metrics import GatewayMetrics
from serving.slo import Slo


class FakeTime:
    """A clock that stands until it is moved."""

    def __init__(self) -> None:
        self.now = 100.0

    def perf_counter(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> FakeTime:
    made = FakeTime()
    monkeypatch.setattr(answer_meter, "time", made)
    return made


def value(metrics: GatewayMetrics, name: str, **labels: str) -> float | None:
    return metrics.registry.get_sample_value(f"manymodal_{name}", labels)


def test_a_streamed_answer(clock: FakeTime):
    metrics = GatewayMetrics(slo=Slo(first_token_seconds=0.5, token_seconds=0.1))
    meter = AnswerMeter(metrics, "text", started=99.6)
    meter.piece()
    for _ in range(4):
        clock.now += 0.05
        meter.piece()
    meter.count(5)
    meter.end()
    assert value(metrics, "time_to_first_token_seconds_sum", modality="text") == pytest.approx(0.4)
    assert value(metrics, "inter_token_seconds_sum", modality="text") == pytest.approx(0.2)
    assert value(metrics, "inter_token_seconds_count", modality="text") == 4
    assert value(metrics, "time_per_output_token_seconds_sum", modality="text") == pytest.approx(0.05)
    assert value(metrics, "generation_seconds_sum", modality="text") == pytest.approx(0.6)
    assert value(metrics, "goodput_tokens_total", modality="text") == 5
    assert value(metrics, "answers_total", modality="text", slo="met") == 1


def test_a_late_answer_is_not_goodput(clock: FakeTime):
    metrics = GatewayMetrics(slo=Slo(first_token_seconds=0.3))
    meter = AnswerMeter(metrics, "text", started=99.6)
    meter.piece()
    meter.count(7)
    meter.end()
    assert value(metrics, "answers_total", modality="text", slo="missed") == 1
    assert value(metrics, "goodput_tokens_total", modality="text") is None


def test_an_answer_in_one_piece(clock: FakeTime):
    metrics = GatewayMetrics()
    meter = AnswerMeter(metrics, "image", started=97.0)
    meter.count(20)
    meter.end()
    assert value(metrics, "generation_seconds_sum", modality="image") == 3
    assert value(metrics, "goodput_tokens_total", modality="image") == 20
    assert value(metrics, "time_to_first_token_seconds_count", modality="image") is None


@pytest.mark.parametrize(
    ("modality", "first", "seconds", "tokens", "good"),
    [
        ("text", 0.5, 0.5, 1, True),
        ("text", 0.51, 0.6, 10, False),
        ("text", 0.4, 1.3, 10, True),  # nine tokens after the first in 0.9 s
        ("text", 0.4, 1.4, 10, False),
        ("image", 1.9, 2.0, 10, True),
        ("audio", 1.1, 1.2, 10, False),
        ("mixed", 4.9, 5.0, 10, True),
        ("text", None, 1.4, 10, True),
        ("text", None, 1.5, 10, False),
        ("text", None, 0.4, 0, True),
    ],
)
def test_what_is_good(modality: str, first: float | None, seconds: float, tokens: int, good: bool):
    assert Slo().is_met(modality, first, seconds, tokens) is good
