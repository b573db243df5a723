"""Five hundred URLs, each also as the target of a redirect: none reaches anything but the one public address."""

from __future__ import annotations

import asyncio
import socket
from collections import Counter
from contextlib import asynccontextmanager

import pytest
from hostile_names import HostileZone, ask, served
from hostile_urls import urls
from hostile_web import listening, redirecting

from serving import pinned_connections
from serving.addresses import is_public_address, plain_address
from serving.config import RequestLimits
from serving.errors import LimitExceeded, MediaFetchFailed
from serving.fetch import MediaFetcher

# Addresses of loopback that play the public internet, and a public address of this machine.
PUBLIC, OWN = "127.0.0.2", "127.0.0.3"
STATUSES = (301, 302, 303, 307, 308)
LIMITS = RequestLimits(max_media_bytes=10_000, fetch_timeout_seconds=10.0, max_redirects=3)


@pytest.fixture
def port(monkeypatch: pytest.MonkeyPatch) -> int:
    with socket.socket() as one:
        one.bind(("0.0.0.0", 0))  # noqa: S104 - only to learn of a port that is free on all addresses
        free = one.getsockname()[1]
    monkeypatch.setattr("serving.fetch._ALLOWED_PORTS", frozenset({80, 443, free}))
    own = pinned_connections.addresses_of_this_machine() | {plain_address(OWN)}
    monkeypatch.setattr(pinned_connections, "addresses_of_this_machine", lambda: own)
    monkeypatch.setattr(
        pinned_connections, "is_public_address", lambda one: one in (PUBLIC, OWN) or is_public_address(one)
    )
    return free


@asynccontextmanager
async def hostile_world(port: int):
    """A fetcher whose names are those of the hostile zone; whom it reached; the zone."""
    zone, reached = HostileZone(PUBLIC, OWN), []
    with served(zone) as names:

        def resolve(host: str, port: int) -> list[str]:
            flags = 0 if "localhost" in host else socket.AI_NUMERICHOST
            try:
                found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=flags)
            except socket.gaierror:
                return ask(host, names)
            return [entry[4][0] for entry in found]

        # The second listens on every other address of the machine.
        async with listening([port], [PUBLIC, "0.0.0.0", "::1"], reached):  # noqa: S104
            yield MediaFetcher(LIMITS, resolve=resolve), reached, zone


async def outcome(fetcher: MediaFetcher, url: str) -> str:
    try:
        async with fetcher.open(url) as fetched:
            return b"".join([chunk async for chunk in fetched.body]).decode()
    except (MediaFetchFailed, LimitExceeded) as error:
        tells = any(one in str(error) for one in ("127.", "10.0.", "::", "169.254", "192.168"))
        return "told an address" if tells else type(error).__name__


async def outcomes(fetcher: MediaFetcher, tried: list[str]) -> dict[str, str]:
    turns = asyncio.Semaphore(8)

    async def one(url: str) -> str:
        async with turns:
            return await outcome(fetcher, url)

    return dict(zip(tried, await asyncio.gather(*(one(url) for url in tried)), strict=True))


async def test_hostile_urls_reach_nobody(port):
    tried = urls(port)
    assert len(tried) > 500
    async with hostile_world(port) as (fetcher, reached, _):
        ends = await outcomes(fetcher, tried)
        assert set(reached) <= {PUBLIC}, "somebody inside was reached"
        assert "told an address" not in ends.values()
        # All but those that a strict reader takes for the public host are refused.
        assert not [url for url, end in ends.items() if end == "public!!" and "public.test" not in url]
        assert (
            await outcome(fetcher, f"http://public.test:{port}/") == "public!!"
        )  # the net is not simply down


async def test_redirects_to_hostile_urls_reach_nobody(port):
    host = f"public.test:{port}"
    tried = [redirecting(host, url, STATUSES[n % len(STATUSES)]) for n, url in enumerate(urls(port))]
    async with hostile_world(port) as (fetcher, reached, _):
        ends = await outcomes(fetcher, tried)
        assert set(reached) == {PUBLIC}, "somebody inside was reached"
        assert len(reached) >= len(tried)
        assert "told an address" not in ends.values()
        assert Counter(ends.values())["MediaFetchFailed"] > 400
        twice = redirecting(host, redirecting(host, f"http://{host}/x", 307), 302)
        assert await outcome(fetcher, twice) == "public!!"


async def test_a_name_that_changes_its_address_leads_nowhere_new(port):
    """DNS rebinding: the first answer is public and used; a second question, for a redirect, is checked again."""
    async with hostile_world(port) as (fetcher, reached, zone):
        assert await outcome(fetcher, f"http://rebind.test:{port}/") == "public!!"
        assert zone.asked["rebind A"] == 1
        assert await outcome(fetcher, f"http://rebind.test:{port}/") == "MediaFetchFailed"
    async with hostile_world(port) as (fetcher, reached, zone):
        there_and_back = redirecting(f"rebind.test:{port}", f"http://rebind.test:{port}/secret", 302)
        assert await outcome(fetcher, there_and_back) == "MediaFetchFailed"
        assert zone.asked["rebind A"] == 2
        assert reached == [PUBLIC]


async def test_a_public_address_of_this_machine_is_not_reached(port):
    async with hostile_world(port) as (fetcher, reached, _):
        for host in (OWN, "own.test", f"[::ffff:{OWN}]"):
            assert await outcome(fetcher, f"http://{host}:{port}/") == "MediaFetchFailed"
        assert reached == []
