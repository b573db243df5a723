"""A process that ends anywhere in a completion or a sweep leaves nothing that the next one does not finish."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from upload_house import DAY, HOUR, House


class Crash(BaseException):
    """The process ends here."""


def crashing_at(house: House, step: int, work: Callable[[], object]) -> bool:
    """Run ``work`` up to its ``step``-th store operation; whether it came to its end before."""
    steps = iter(range(step + 1))

    def crash(operation: str, key: str) -> None:
        if next(steps) == step:
            house.before = dead
            raise Crash

    def dead(operation: str, key: str) -> None:
        raise Crash  # what runs while the exception unwinds is not there after a kill

    house.before = crash
    try:
        work()
    except Crash:
        return False
    finally:
        house.before = lambda operation, key: None
    return True


@pytest.mark.parametrize("after", ["retry", "sweep"])
def test_a_crash_between_any_two_steps_of_a_completion(tmp_path, after):
    for step in range(1000):
        house = House(tmp_path / f"{after}{step}")
        upload = house.create(10)
        ids = [house.add(upload, b"hello"), house.add(upload, b"world")]
        done = crashing_at(house, step, lambda: house.complete(upload, *ids))  # noqa: B023 - called within the round
        if after == "retry":
            found = house.uploads.get("acme", upload.id)
            ended = found if found.status == "completed" else house.complete(upload, *ids)
            assert house.content(ended) == b"helloworld"
        house.now += 2 * HOUR
        house.uploads.sweep()
        found = house.uploads.get("acme", upload.id)
        files = [record.ref.id for record in house.media.list("acme")]
        assert files == ([] if found.file_id is None else [found.file_id])
        assert house.keys("parts/") == []
        if after == "retry" or done:
            assert house.content(found) == b"helloworld"
        house.now += 2 * DAY
        house.uploads.sweep()
        assert house.keys("parts/", "uploads/") == []
        assert [record.ref.id for record in house.media.list("acme")] == files
        if done:
            assert step > 8
            return
    pytest.fail("it never came to an end")


def test_a_crash_between_any_two_steps_of_the_sweep(tmp_path):
    for step in range(1000):
        house = House(tmp_path / str(step))
        stray = house.create(5)
        part = house.add(stray, b"stray")

        def crash(operation: str, key: str) -> None:
            if operation == "put_if_absent" and key.endswith(".outcome.json"):
                raise Crash

        house.before = crash
        with pytest.raises(Crash):
            house.complete(stray, part)
        house.before = lambda operation, key: None
        house.complete(upload := house.create(5), house.add(upload, b"hello"))
        house.now += 3 * DAY
        done = crashing_at(house, step, house.uploads.sweep)
        house.uploads.sweep()
        assert house.keys("parts/", "uploads/") == []
        assert [house.media.read(record.ref) for record in house.media.list("acme")] == [b"hello"]
        if done:
            assert step > 8
            return
    pytest.fail("it never came to an end")
