"""Expired media go everywhere, garbage goes, a step in trouble keeps no other, and the app starts and ends it."""

from __future__ import annotations

import asyncio
import io
import threading
import time
from datetime import timedelta
from pathlib import Path

import pytest
from fake_platform import build_platform, http_client
from fake_services import fake_png
from fake_store import FakeTroubledStore

from search.errors import SearchUnavailable
from serving.housekeeping import Housekeeping
from storage.local import LocalObjectStore
from storage.types import TierPolicy

DAY = 24 * 3600


class Clock:
    """Ahead of the store's by ``ahead_seconds``."""

    ahead_seconds = 0.0

    def __call__(self) -> float:
        return time.time() + self.ahead_seconds


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def store(tmp_path):
    return FakeTroubledStore(LocalObjectStore(tmp_path / "objects", tmp_path / "cold"))


@pytest.fixture
def tiers():
    return TierPolicy()


@pytest.fixture
def platform(tmp_path, config, store, clock, tiers):
    return build_platform(tmp_path, config, store, clock, tiers=tiers)


@pytest.fixture
def housekeeping(platform) -> Housekeeping:
    return platform.gateway.housekeeping


async def upload(platform, content: bytes, lifetime_seconds: int | None = None) -> str:
    admission = platform.gateway.admission
    kept = await admission.file_upload("default", io.BytesIO(content), "a.png", "vision", lifetime_seconds)
    return kept.record.ref.id


async def counted(platform) -> dict[str, float]:
    """The housekeeping's metrics by name and label."""
    async with http_client(platform) as http:
        lines = (await http.get("/metrics")).text.splitlines()
    ours = [line.removeprefix("manymodal_housekeeping_") for line in lines if "housekeeping" in line]
    pairs = [line.rsplit(" ", 1) for line in ours if not line.startswith("#") and "_created" not in line]
    return {name: float(value) for name, value in pairs}


async def test_expired_media_go_with_everything_made_of_them(http, platform, housekeeping, clock):
    short, long, forever = [
        await upload(platform, fake_png({label: 0.9}), seconds)
        for label, seconds in (("cat", 3600), ("dog", 10 * DAY), ("tree", None))
    ]
    for media_id in (short, long):
        answer = await http.post("/v1/collections/default/documents", json={"media_id": media_id})
        assert answer.status_code == 200
    clock.ahead_seconds = 3000
    await housekeeping.round()
    assert (await http.get(f"/v1/media/{short}")).status_code == 200
    clock.ahead_seconds = 3700
    assert (await http.get(f"/v1/media/{short}")).status_code == 404
    sha256 = next(key for key in platform.stored_keys("refs/") if short in key).split("/")[2]
    await housekeeping.round()
    assert [key for key in platform.stored_keys() if short in key or sha256 in key] == []
    assert platform.search.media_ids("default") == {long}
    for media_id in (long, forever):
        assert (await http.get(f"/v1/media/{media_id}/content")).status_code == 200
    numbers = await counted(platform)
    assert numbers["runs_total"] == 2
    assert numbers['removed_total{kind="expired"}'] == 1


async def test_garbage_is_collected_after_the_grace_period(platform, housekeeping, clock):
    platform.media.receive("default", io.BytesIO(b"nobody committed this"), "text/plain", 100)
    await housekeeping.round()
    assert len(platform.stored_keys("blobs/")) == 1
    clock.ahead_seconds = 2 * DAY
    await housekeeping.round()
    assert platform.stored_keys() == []
    assert (await counted(platform))['removed_total{kind="references"}'] == 1


@pytest.mark.parametrize("tiers", [TierPolicy(cold_after_days=1)])
async def test_a_step_in_trouble_keeps_no_other(platform, housekeeping, store, clock, tiers, caplog):
    await upload(platform, fake_png())
    store.fails = lambda operation, key: operation == "list"
    store.calls.clear()
    await housekeeping.round()
    assert ("apply_tiers", str(tiers)) in store.calls
    numbers = await counted(platform)
    assert numbers["runs_total"] == 1
    assert numbers['failures_total{step="expired"}'] == 1
    assert numbers['failures_total{step="garbage"}'] == 1
    assert 'failures_total{step="tiers"}' not in numbers
    assert "Housekeeping failed: garbage" in caplog.text


async def test_without_days_earlier_rules_and_broken_off_uploads_go(housekeeping, store):
    await housekeeping.round()
    assert ("apply_tiers", str(TierPolicy())) in store.calls


async def test_deleted_rows_leave_the_disk(http, platform, housekeeping, monkeypatch):
    monkeypatch.setattr("search.maintenance._KEEP_VERSIONS", timedelta(0))
    media_id = await upload(platform, fake_png())
    await http.post("/v1/collections/default/documents", json={"media_id": media_id})
    await platform.gateway.remover.remove("default", media_id)
    await housekeeping.round()
    assert (await counted(platform))['removed_total{kind="search_bytes"}'] > 0


async def test_one_medium_in_trouble_keeps_no_other(http, platform, housekeeping, store, clock):
    first, second, third = [
        await upload(platform, fake_png({label: 0.9}), 60) for label in ("cat", "dog", "tree")
    ]
    for media_id in (first, second):
        await http.post("/v1/collections/default/documents", json={"media_id": media_id})
    other = await platform.gateway.admission.file_upload("other", io.BytesIO(fake_png()), None, "vision", 60)
    store.fails = lambda operation, key: operation == "delete" and first in key
    clock.ahead_seconds = 61
    await housekeeping.round()
    keys = " ".join(platform.stored_keys("files/"))
    assert first in keys
    assert not any(media_id in keys for media_id in (second, third, other.record.ref.id))
    assert platform.search.media_ids("default") == frozenset()
    numbers = await counted(platform)
    assert numbers['failures_total{step="expired"}'] == 1
    assert numbers['removed_total{kind="expired"}'] == 3
    store.fails = lambda operation, key: False
    await housekeeping.round()
    assert platform.stored_keys() == []


async def test_a_failure_closes_the_walk_off_the_event_loop(platform, housekeeping, clock, monkeypatch):
    """It waits for reads under way, which may take as long as a store takes to answer."""
    await upload(platform, fake_png(), 60)
    clock.ahead_seconds = 61
    expired, closed_in = platform.media.expired, []

    def walk():
        try:
            yield from expired()
            pytest.fail("not so far")
        finally:
            closed_in.append(threading.current_thread())

    async def refuses(tenant, media_ids):
        raise SearchUnavailable("The collections cannot be read.")

    monkeypatch.setattr(platform.media, "expired", walk)
    monkeypatch.setattr("serving.housekeeping._BATCH", 1)
    monkeypatch.setattr(platform.gateway.services.search, "delete_media", refuses)
    await housekeeping.round()
    assert len(closed_in) == 1
    assert closed_in[0] is not threading.current_thread()


async def test_the_app_starts_and_ends_it(tmp_path: Path, config):
    platform = build_platform(tmp_path, config, housekeeping_seconds=0.01)
    rounds = asyncio.Semaphore(0)
    housekeeping = platform.gateway.housekeeping

    async def counting(self) -> None:
        rounds.release()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Housekeeping, "round", counting)
        async with platform.app.router.lifespan_context(platform.app):
            for _ in range(3):
                await asyncio.wait_for(rounds.acquire(), 10)
            (keeping,) = [task for task in asyncio.all_tasks() if task.get_name() == "housekeeping"]
        assert keeping.cancelled()
    assert isinstance(housekeeping, Housekeeping)


async def test_ending_does_not_wait_for_a_round_that_hangs(tmp_path, config, store):
    platform = build_platform(tmp_path, config, store, housekeeping_seconds=0.01)
    begun = asyncio.Event()

    async def hangs(self) -> None:
        begun.set()
        await asyncio.Event().wait()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Housekeeping, "_garbage", hangs)
        async with platform.app.router.lifespan_context(platform.app):
            await asyncio.wait_for(begun.wait(), 10)


async def test_of_several_gateways_one_does_the_round(tmp_path, config, store, clock):
    gateways = [
        build_platform(tmp_path, config, store, clock, housekeeping_seconds=3600).gateway.housekeeping
        for _ in range(3)
    ]
    rounds: list[Housekeeping] = []

    async def counting(self) -> None:
        rounds.append(self)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Housekeeping, "round", counting)
        for one in gateways:
            await one._in_turn()
        assert rounds == [gateways[0]]
        clock.ahead_seconds = 3600 * 0.81  # whoever did it last may be gone by then
        for one in reversed(gateways):
            await one._in_turn()
        assert rounds == [gateways[0], gateways[2]]


async def test_a_long_round_stays_with_its_gateway(tmp_path, config, store, clock):
    first, second = (
        build_platform(tmp_path, config, store, clock, housekeeping_seconds=3600).gateway.housekeeping
        for _ in range(2)
    )
    await first._in_turn()
    clock.ahead_seconds = 3600 * 0.7
    await first._renew()
    clock.ahead_seconds = 3600 * 1.4
    await second._in_turn()
    assert second._lease is None
    clock.ahead_seconds = 3600 * 1.6
    await second._in_turn()
    assert second._lease is not None
    await first._renew()
    assert first._lease is None
