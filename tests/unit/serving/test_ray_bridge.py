"""Calls of the bridge, which waits for the encoders: whose failure it is when there is no answer."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from fake_ray import FakeResponse, exceptions, serve_exceptions
from tenacity import wait_none

from encoders.errors import CorruptMedia
from serving.breaker import BreakerConfig
from serving.errors import CircuitOpen, ServiceBusy, ServiceUnavailable
from serving.pool_calls import PoolBook
from serving.ray_adapter import RayBridge
from storage.types import MediaRef

MEDIA = MediaRef("file-1", "t", "a" * 64, "image/png", 3)
FAILURES = 2


class Deployment:
    """A handle whose every call gets a new response with the same outcome."""

    def __init__(self, outcome: Any) -> None:
        self.outcome = outcome
        self.asked = 0

    def options(self, **_: Any) -> Deployment:
        return self

    def __getattr__(self, name: str) -> Any:
        return SimpleNamespace(remote=self._answer)

    def _answer(self, *_: Any) -> FakeResponse:
        self.asked += 1
        return FakeResponse(self.outcome)


@pytest.fixture
def book(monkeypatch: pytest.MonkeyPatch) -> PoolBook:
    monkeypatch.setattr("serving.ray_adapter.caller._WAIT", wait_none())
    monkeypatch.setattr("serving.ray_adapter.caller._SETTLED_SECONDS", 0.01)
    return PoolBook(BreakerConfig(failures=FAILURES, retry_seconds=60))


def bridge(book: PoolBook, encoder: Any, bridge: Any, seconds: float = 30) -> tuple[RayBridge, Deployment]:
    vision = Deployment(encoder)
    pools = dict.fromkeys(("vision", "ocr", "audio", "text"), vision)
    return RayBridge(pools, Deployment(bridge), seconds, book), vision


def breakers(book: PoolBook) -> tuple[str, str]:
    found = {calls.deployment: calls.breaker.state for calls in book.all()}
    return found["vision"], found["bridge"]


def outcomes(book: PoolBook, deployment: str) -> dict[str, int]:
    (calls,) = (calls for calls in book.all() if calls.deployment == deployment)
    statistics = calls.statistics()
    assert statistics.ongoing == 0
    return {outcome: count for outcome, count in statistics.outcomes.items() if count}


LOST = exceptions.ActorDiedError()
AWAY = serve_exceptions.DeploymentUnavailableError(SimpleNamespace(name="x", app_name="y"))


@pytest.mark.parametrize(
    ("error", "seen"),
    # What an argument fails with travels in the waiting call's wrapper, unless that was never sent.
    [(LOST, exceptions.RayTaskError("project_image", "trace", LOST)), (AWAY, AWAY)],
    ids=["lost", "away"],
)
async def test_what_the_encoders_fail_is_theirs(book: PoolBook, error: Exception, seen: Exception) -> None:
    asked, vision = bridge(book, error, seen)
    for _ in range(FAILURES):
        with pytest.raises(ServiceUnavailable, match="looks at pictures"):
            await asked.soft_image(MEDIA)
    assert breakers(book) == ("open", "closed")
    assert outcomes(book, "vision") == {"failed": FAILURES}
    assert outcomes(book, "bridge") == {"left": FAILURES}
    tries = vision.asked
    with pytest.raises(CircuitOpen, match="looks at pictures"):
        await asked.soft_image(MEDIA)
    assert vision.asked == tries


@pytest.mark.parametrize("tokens", ["tokens", ...], ids=["answered", "at work"])
async def test_what_the_bridge_fails_is_its_own(book: PoolBook, tokens: Any) -> None:
    asked, _ = bridge(book, tokens, LOST)
    for _ in range(FAILURES):
        with pytest.raises(ServiceUnavailable, match="bridge"):
            await asked.soft_image(MEDIA)
    assert breakers(book) == ("closed", "open")
    assert outcomes(book, "bridge") == {"failed": FAILURES}


async def test_a_full_queue_of_the_encoders_is_said_to_be_theirs(book: PoolBook) -> None:
    full = serve_exceptions.BackPressureError(num_queued_requests=9, max_queued_requests=9)
    asked, _ = bridge(book, full, full)
    with pytest.raises(ServiceBusy, match="looks at pictures"):
        await asked.soft_image(MEDIA)
    assert outcomes(book, "vision") == {"refused": 1}
    assert breakers(book) == ("closed", "closed")


@pytest.mark.parametrize(
    ("tokens", "service", "open_ones"),
    [(..., "looks at pictures", ("open", "closed")), ("tokens", "bridge", ("closed", "open"))],
    ids=["encoders", "bridge"],
)
async def test_who_is_too_slow_is_found(
    book: PoolBook, tokens: Any, service: str, open_ones: tuple[str, str]
) -> None:
    asked, _ = bridge(book, tokens, ..., seconds=0.01)
    for _ in range(FAILURES):
        with pytest.raises(ServiceUnavailable, match=rf"{service}.* did not answer within 0\.01"):
            await asked.soft_image(MEDIA)
    assert breakers(book) == open_ones


async def test_a_bad_medium_is_nobodys_failure(book: PoolBook) -> None:
    damaged = CorruptMedia("The file is damaged.")
    wrapped = exceptions.RayTaskError("image_tokens", "trace", damaged)
    asked, _ = bridge(book, wrapped, exceptions.RayTaskError("project_image", "trace", wrapped))
    for _ in range(FAILURES):
        with pytest.raises(CorruptMedia):
            await asked.soft_image(MEDIA)
    assert breakers(book) == ("closed", "closed")


async def test_an_answer_is_an_answer_of_both(book: PoolBook) -> None:
    asked, _ = bridge(book, "tokens", "soft tokens")
    assert await asked.soft_image(MEDIA) == "soft tokens"
    assert outcomes(book, "vision") == outcomes(book, "bridge") == {"answered": 1}
    (vision,) = (calls for calls in book.all() if calls.deployment == "vision")
    assert vision.statistics().latency_seconds == {}  # how much of it was theirs nobody knows
