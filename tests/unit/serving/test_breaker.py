"""The circuit breaker of a deployment, and what is counted of its calls."""

from __future__ import annotations

import pytest

from serving.breaker import Breaker, BreakerConfig
from serving.errors import CircuitOpen
from serving.pool_calls import PoolBook, PoolCalls


@pytest.fixture
def clock(monkeypatch):
    """Seconds that pass when the test says so."""

    class Clock:
        now = 1000.0

        def __call__(self) -> float:
            return self.now

    clock = Clock()
    monkeypatch.setattr("circuitbreaker.monotonic", clock)
    monkeypatch.setattr("serving.breaker.time.monotonic", clock)
    return clock


@pytest.fixture
def breaker(clock) -> Breaker:
    return Breaker("ocr", "The reader", BreakerConfig(failures=3, retry_seconds=2))


def fail(breaker: Breaker, times: int = 3) -> None:
    for _ in range(times):
        breaker.admit().failed()


def test_failures_in_a_row_open_it(breaker):
    fail(breaker, 2)
    breaker.admit().succeeded()
    fail(breaker, 2)
    assert breaker.state == "closed"
    fail(breaker, 1)
    assert breaker.state == "open"
    with pytest.raises(CircuitOpen, match=r"The reader failed several times in a row.* in 2 seconds"):
        breaker.admit()


def test_what_cannot_be_said_counts_for_nothing(breaker):
    fail(breaker, 2)
    breaker.admit().dropped()
    fail(breaker, 1)
    assert breaker.state == "open"


@pytest.mark.parametrize(("answers", "state"), [(True, "closed"), (False, "open")])
def test_one_probe_finds_out(breaker, clock, answers, state):
    fail(breaker)
    clock.now += 2.1
    assert breaker.state == "half_open"
    probe = breaker.admit()
    with pytest.raises(CircuitOpen):
        breaker.admit()
    probe.succeeded() if answers else probe.failed()
    probe.dropped()  # the first outcome counts
    assert breaker.state == state


def test_a_probe_whose_caller_leaves_is_followed_by_another(breaker, clock):
    fail(breaker)
    clock.now += 2.1
    breaker.admit().dropped()
    breaker.admit().succeeded()
    assert breaker.state == "closed"


def test_a_probe_without_an_answer_does_not_hold_the_others_up_for_ever(breaker, clock):
    fail(breaker)
    clock.now += 2.1
    breaker.admit()
    clock.now += 2.1
    breaker.admit().succeeded()
    assert breaker.state == "closed"


def test_failures_of_calls_from_before_do_not_keep_it_open(breaker, clock):
    late = [breaker.admit() for _ in range(4)]
    fail(breaker)
    clock.now += 1.5
    for permit in late:
        permit.failed()
    clock.now += 0.6
    assert breaker.state == "half_open"


def test_an_answer_to_a_call_from_before_closes_it(breaker):
    late = breaker.admit()
    fail(breaker)
    late.succeeded()
    assert breaker.state == "closed"


@pytest.mark.parametrize("wrong", [{"failures": 0}, {"retry_seconds": 0}])
def test_impossible_settings(wrong):
    with pytest.raises(ValueError, match="at least 1"):
        BreakerConfig(**wrong)


def test_calls_are_counted_by_how_they_end(clock):
    calls = PoolCalls("ocr", "The reader", BreakerConfig(failures=1, retry_seconds=2))
    whole, broken, left = calls.begin(), calls.begin(), calls.begin()
    assert calls.statistics().ongoing == 3
    assert calls.statistics().latency_seconds == {}
    whole.end("answered")
    broken.answered()
    broken.end("failed")
    broken.end("answered")
    left.end("left")
    assert calls.breaker.state == "closed"  # that an answer breaks off says nothing about the next
    calls.begin().end("failed")
    with pytest.raises(CircuitOpen):
        calls.begin()
    found = calls.statistics()
    assert (found.ongoing, found.breaker) == (0, "open")
    assert {name: count for name, count in found.outcomes.items() if count} == {
        "answered": 1,
        "broken_off": 1,
        "left": 1,
        "failed": 1,
        "refused_open": 1,
    }
    assert set(found.latency_seconds) == {50, 95, 99}


def test_a_book_has_one_page_for_each_deployment():
    book = PoolBook()
    assert book.of("text", "Texts") is book.of("text", "Texts")
    book.of("ocr", "The reader")
    assert [calls.deployment for calls in book.all()] == ["ocr", "text"]
