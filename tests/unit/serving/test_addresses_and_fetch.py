"""Nothing but the public internet is reachable through a media URL, and nothing endless is read."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.addresses import is_public_address
from serving.config import RequestLimits
from serving.errors import LimitExceeded, MediaFetchFailed
from serving.fetch import MediaFetcher

LIMITS = RequestLimits(max_media_bytes=10_000, fetch_timeout_seconds=30.0, max_redirects=3)


@pytest.mark.parametrize(
    "address",
    [
        *("127.0.0.1", "0.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1"),
        *("192.0.0.1", "192.0.2.1", "198.18.0.1", "198.51.100.1", "203.0.113.1", "192.88.99.1", "224.0.0.1"),
        *("239.255.255.250", "240.0.0.1", "255.255.255.255", "::", "::1", "::7f00:1", "::ffff:127.0.0.1"),
        *("::ffff:10.0.0.1", "64:ff9b::7f00:1", "64:ff9b::a00:1", "64:ff9b:1::1", "2002:7f00:1::", "2001::1"),
        *("2001:db8::1", "fc00::1", "fd12::1", "fe80::1", "fe80::1%eth0", "fec0::1", "ff02::1", "3fff::1"),
        *("100::1", "5f00::1", "2600::5efe:7f00:1", "2600::200:5efe:a00:1", "nonsense", ""),
    ],
)
def test_addresses_that_are_not_public(address):
    assert not is_public_address(address)


@pytest.mark.parametrize(
    "address",
    ["8.8.8.8", "1.1.1.1", "93.184.216.34", "2606:4700::1111", "64:ff9b::808:808", "::ffff:8.8.8.8"],
)
def test_addresses_that_are_public(address):
    assert is_public_address(address)


@given(st.integers(0, 2**32 - 1))
def test_an_ipv4_address_is_never_more_public_inside_ipv6(number):
    plain = ipaddress.IPv4Address(number)
    public = is_public_address(str(plain))
    assert is_public_address(f"::ffff:{plain}") == public
    assert (
        is_public_address(str(ipaddress.IPv6Address(int(ipaddress.IPv6Address("64:ff9b::")) + number)))
        == public
    )
    assert not is_public_address(str(ipaddress.IPv6Address(number)))


@asynccontextmanager
async def server(answer: bytes, *, pause: float = 0.0, endless: bool = False):
    """A loopback HTTP server with one answer; keeps the requests it got."""
    requests: list[bytes] = []

    async def handle(reader, writer):
        try:
            requests.append(await reader.readuntil(b"\r\n\r\n"))
            await asyncio.sleep(pause)
            writer.write(answer)
            while endless:
                writer.write(b"x" * 1000)
                await writer.drain()
                await asyncio.sleep(0)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    running = await asyncio.start_server(handle, "127.0.0.1", 0)
    async with running:
        yield f"http://127.0.0.1:{running.sockets[0].getsockname()[1]}", requests


def fetcher(*, private: bool = True, **limits: float) -> MediaFetcher:
    from dataclasses import replace

    return MediaFetcher(replace(LIMITS, **limits), allow_private_urls=private)


async def fetch(fetcher: MediaFetcher, url: str) -> tuple[bytes, str | None]:
    async with fetcher.open(url, "url") as fetched:
        return b"".join([chunk async for chunk in fetched.body]), fetched.filename


def ok(body: bytes, *headers: str) -> bytes:
    lines = ["HTTP/1.1 200 OK", f"Content-Length: {len(body)}", *headers, "", ""]
    return "\r\n".join(lines).encode() + body


def redirect(to: str) -> bytes:
    return f"HTTP/1.1 302 Found\r\nLocation: {to}\r\nContent-Length: 0\r\n\r\n".encode()


async def test_delivers_bytes_and_name_with_the_urls_host(monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    async with server(ok(b"picture")) as (url, requests):
        assert await fetch(fetcher(), f"{url}/a/b%20c.png?x=1") == (b"picture", "b c.png")
    request = requests[0].decode()
    assert request.startswith("GET /a/b%20c.png?x=1 HTTP/1.1\r\n")
    assert f"Host: {url.removeprefix('http://')}\r\n" in request
    assert "Accept-Encoding: identity\r\n" in request
    assert "cookie" not in request.lower()


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "localhost",
        "[::1]",
        "2130706433",
        "0x7f000001",
        "0177.0.0.1",
        "127.1",
        "[::ffff:127.0.0.1]",
    ],
)
async def test_private_addresses_in_any_spelling_are_refused(host, monkeypatch):
    async with server(ok(b"secret")) as (url, requests):
        port = int(url.rsplit(":", 1)[1])
        monkeypatch.setattr("serving.fetch._ALLOWED_PORTS", frozenset({port}))
        with pytest.raises(MediaFetchFailed) as refused:
            await fetch(fetcher(private=False), f"http://{host}:{port}/")
        assert requests == []
    assert "127.0.0.1" not in str(refused.value)


async def test_a_name_with_any_private_address_is_refused(monkeypatch):
    def resolve(host, port, **_):
        return [(2, 1, 6, "", ("8.8.8.8", port)), (2, 1, 6, "", ("127.0.0.1", port))]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    with pytest.raises(MediaFetchFailed, match="not on the public internet"):
        await fetch(fetcher(private=False), "http://rebinding.example/")


async def test_the_connection_goes_where_the_check_was_made(monkeypatch):
    """The name is resolved once; a second answer (DNS rebinding) is never asked for."""
    async with server(ok(b"x")) as (url, requests):
        port = int(url.rsplit(":", 1)[1])
        asked = []

        def resolve(host, port, **_):
            asked.append(host)
            return [(2, 1, 6, "", ("127.0.0.1", port))]

        connect = asyncio.BaseEventLoop.create_connection
        reached = []

        async def connected(self, factory, host=None, port=None, **options):
            reached.append(host)
            return await connect(self, factory, host, port, **options)

        monkeypatch.setattr(socket, "getaddrinfo", resolve)
        monkeypatch.setattr(asyncio.BaseEventLoop, "create_connection", connected)
        await fetch(fetcher(), f"http://media.example:{port}/x")
        assert asked == ["media.example"]
        assert reached == ["127.0.0.1"]
        assert b"Host: media.example:" in requests[0]


@pytest.mark.parametrize(
    "url",
    [
        *("ftp://example.org/a", "file:///etc/passwd", "gopher://x", "http://", "http:///x", "https://?"),
        *("http://user:pw@example.org/", "http://user@example.org/", "http://example.org:22/", "http://[::1"),
        *("http://example.org:25/", "http://exa mple.org/", "http://a\r\nHost: b/", "http://" + "a" * 5000),
    ],
)
async def test_urls_that_are_not_fetched(url):
    with pytest.raises((MediaFetchFailed, LimitExceeded)):
        await fetch(fetcher(private=False), url)


@pytest.mark.parametrize(
    ("host", "reached"),
    [
        *(
            ("media.example", True),
            ("MEDIA.example", True),
            ("media.example.", True),
            ("a.cdn.example", True),
        ),
        *(("a.b.cdn.example", True), ("cdn.example", False), ("evilcdn.example", False), ("example", False)),
        *(("media.example.evil.example", False), ("a.media.example", False), ("127.0.0.1", False)),
    ],
)
async def test_media_come_from_named_hosts_only_redirected_or_not(host, reached):
    def named() -> MediaFetcher:
        hosts = ("start.example", "media.example", "*.CDN.example")
        return MediaFetcher(LIMITS, hosts=hosts, allow_private_urls=True, resolve=lambda *_: ["127.0.0.1"])

    async with server(ok(b"there")) as (there, requests):
        port = there.rpartition(":")[2]
        async with server(redirect(f"http://{host}:{port}/x")) as (start, _):
            for url in (f"http://{host}:{port}/x", start.replace("127.0.0.1", "start.example")):
                if reached:
                    assert (await fetch(named(), url))[0] == b"there"
                else:
                    with pytest.raises(MediaFetchFailed, match="media_hosts"):
                        await fetch(named(), url)
        assert len(requests) == (2 if reached else 0)
    with pytest.raises(MediaFetchFailed, match="media_hosts"):
        await fetch(MediaFetcher(LIMITS, hosts=()), "http://media.example/x")


async def test_redirects_are_followed_checked_and_counted(monkeypatch):
    async with server(ok(b"there")) as (target, _), server(redirect(f"{target}/final.jpg")) as (start, _):
        assert await fetch(fetcher(), f"{start}/first.jpg") == (b"there", "final.jpg")
    async with server(redirect("/again")) as (url, requests):
        with pytest.raises(LimitExceeded, match="max_redirects"):
            await fetch(fetcher(), url)
        assert len(requests) == LIMITS.max_redirects + 1
    for target in ("file:///etc/passwd", "ftp://x.org/", "http://u:p@x.org/"):
        async with server(redirect(target)) as (url, _):
            with pytest.raises(MediaFetchFailed):
                await fetch(fetcher(), url)


async def test_sizes_are_capped_declared_or_not():
    for options in ({"answer": ok(b"x" * 10_001)}, {"answer": b"HTTP/1.1 200 OK\r\n\r\n", "endless": True}):
        async with server(**options) as (url, _):
            with pytest.raises(LimitExceeded, match="max_media_bytes"):
                await fetch(fetcher(), url)
    async with server(ok(b"x" * 10_000)) as (url, _):
        assert len((await fetch(fetcher(), url))[0]) == 10_000


async def test_compressed_bodies_stay_compressed():
    async with server(ok(b"\x1f\x8bgzip", "Content-Encoding: gzip")) as (url, _):
        assert (await fetch(fetcher(), url))[0] == b"\x1f\x8bgzip"


async def test_slow_broken_and_failing_servers():
    async with server(ok(b"x"), pause=5) as (url, _):
        with pytest.raises(MediaFetchFailed, match="fetch_timeout_seconds"):
            await fetch(fetcher(fetch_timeout_seconds=0.1), url)
    for answer in (
        b"",
        b"garbage\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nshort",
        b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 302 Found\r\nContent-Length: 0\r\n\r\n",
    ):
        async with server(answer) as (url, _):
            with pytest.raises(MediaFetchFailed) as failed:
                await fetch(fetcher(), url)
            assert failed.value.param == "url"
    with pytest.raises(MediaFetchFailed):
        await fetch(fetcher(), "http://127.0.0.1:1/")


async def test_name_servers_that_do_not_answer_hold_up_no_other_work(monkeypatch):
    answer = threading.Event()

    def resolve(host, port, **_):
        answer.wait(10)
        raise OSError

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    slow = fetcher(fetch_timeout_seconds=0.1)
    loop = asyncio.get_running_loop()
    loop.set_default_executor(ThreadPoolExecutor(1))
    try:
        for _ in range(6):
            with pytest.raises(MediaFetchFailed, match="fetch_timeout_seconds"):
                await fetch(slow, "http://slow.example/")
        async with asyncio.timeout(5):
            assert await asyncio.to_thread(lambda: "done") == "done"
    finally:
        answer.set()


@asynccontextmanager
async def flooding(head: bytes, piece: bytes, *, pause: float | None = None):
    """A loopback server that sends ``piece`` after ``head`` without end; what it could send so far."""
    sent = [0]

    async def handle(reader, writer):
        try:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(head)
            while True:
                writer.write(piece)
                sent[0] += len(piece)
                await writer.drain()
                await asyncio.sleep(pause or 0)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    running = await asyncio.start_server(handle, "127.0.0.1", 0)
    async with running:
        yield f"http://127.0.0.1:{running.sockets[0].getsockname()[1]}", sent


@pytest.mark.parametrize(
    ("head", "piece"),
    [
        (b"HTTP/1.1 200 OK\r\n", b"X-More: and more\r\n" * 100),
        (b"HTTP/1.1 200 OK\r\nX-Long: ", b"x" * 1000),
        (b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 100),
        (b"", b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" * 100),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n" * 100),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1;" + b"e" * 60 + b"\r\nx\r\n"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n", b"X-Trailer: more\r\n" * 100),
    ],
)
async def test_what_is_not_media_is_not_read_for_long(head, piece):
    """Headers, interim answers, chunk lengths and trailers cost time to parse: little of them is read."""
    async with flooding(head, piece) as (url, sent):
        with pytest.raises(MediaFetchFailed):
            await fetch(fetcher(max_media_bytes=1 << 30), url)
        # What was read, and what lay in the buffers of both sockets.
        assert sent[0] < 16 << 20


async def test_a_body_in_small_chunks_of_a_usual_size_is_whole():
    body = b"".join(b"80\r\n" + b"x" * 128 + b"\r\n" for _ in range(10_000)) + b"0\r\n\r\n"
    answer = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + body
    async with server(answer) as (url, _):
        assert len((await fetch(fetcher(max_media_bytes=2 << 20), url))[0]) == 10_000 * 128


async def test_a_body_that_drips_ends_with_the_time_for_all_of_it():
    async with flooding(b"HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n", b"x", pause=0.02) as (url, sent):
        with pytest.raises(MediaFetchFailed, match="fetch_timeout_seconds"):
            await fetch(fetcher(fetch_timeout_seconds=0.3), url)
        assert 0 < sent[0] < 5000


async def test_redirects_with_bodies_without_end_are_not_read():
    async with (
        server(ok(b"there")) as (target, _),
        flooding(f"HTTP/1.1 302 Found\r\nLocation: {target}/a\r\n\r\n".encode(), b"x" * 1000) as (url, sent),
    ):
        assert (await fetch(fetcher(), url))[0] == b"there"
        assert sent[0] < 16 << 20


@pytest.mark.parametrize(
    "location", ["http://[public.test]@x/", "http://[::1", "http://xn--a-/", "//[", "\xff\xfe"]
)
async def test_redirects_to_what_is_no_url_are_refused(location):
    async with server(redirect(location)) as (url, _):
        with pytest.raises((MediaFetchFailed, LimitExceeded)):
            await fetch(fetcher(), url)
