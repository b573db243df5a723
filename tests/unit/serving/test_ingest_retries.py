"""What may pass is tried again; a tenant's limits are waited for, where nobody waits for the answer."""

from __future__ import annotations

import pytest

from serving.errors import EngineOverloaded, QuotaExceeded, RateLimited
from serving.ingest.config import IngestConfig
from serving.ingest.retries import Retries, is_own_trouble


class Work:
    """Raises each error once, then succeeds."""

    def __init__(self, *errors: Exception) -> None:
        self.errors = list(errors)

    async def __call__(self) -> str:
        if self.errors:
            raise self.errors.pop(0)
        return "done"


def limited(retry_after_seconds: float | None) -> RateLimited:
    return RateLimited("over the limit", retry_after_seconds)


async def test_a_job_waits_for_its_tenants_limits():
    config = IngestConfig(attempts=2, first_delay_seconds=0.001, max_delay_seconds=0.001)
    retries = Retries(config)
    busy = EngineOverloaded("busy")
    work = Work(
        limited(0.01), limited(0.01), busy, limited(0.01), limited(0.01)
    )  # far more than two attempts
    assert await retries.run(work) == "done"
    with pytest.raises(EngineOverloaded):
        await retries.run(Work(busy, busy))


@pytest.mark.parametrize("error", [limited(None), QuotaExceeded("full", 60)])
async def test_what_does_not_come_back_is_not_waited_for(error):
    work = Work(error)
    with pytest.raises(RateLimited):
        await Retries(IngestConfig()).run(work)
    assert not is_own_trouble(error)


async def test_who_waits_for_the_answer_is_told():
    error = limited(30)
    with pytest.raises(RateLimited):
        await Retries(IngestConfig(waits_for_limits=False)).run(Work(error))
    assert is_own_trouble(error)
