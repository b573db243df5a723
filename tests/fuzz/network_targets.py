"""What leads outside, and what comes back: data URLs, media URLs, addresses, the engine's stream of events."""

from __future__ import annotations

import ipaddress

from fuzz.target import Target
from serving.addresses import is_public_address, plain_address
from serving.admission import _data_start, _decode_base64
from serving.config import RequestLimits
from serving.errors import InvalidRequest, LimitExceeded, MediaFetchFailed
from serving.fetch import MediaFetcher, _filename
from serving.sse import DONE, EventRewriter

__all__ = ["NETWORK_TARGETS"]

_FETCHER = MediaFetcher(RequestLimits())


def data_urls(data: bytes) -> None:
    """A data URL has base64 that is decoded, or is refused."""
    url = data.decode("utf-8", "replace")
    try:
        start = _data_start(url, "url")
        _decode_base64(url[start:], "url")
    except InvalidRequest:
        return


def media_urls(data: bytes) -> None:
    """A URL is refused, or leads to the host and port that stand in it, over HTTP."""
    url = data.decode("utf-8", "replace")
    try:
        target = _FETCHER._checked(url, "url")
    except (MediaFetchFailed, LimitExceeded):
        return
    assert target.scheme in ("http", "https")
    assert target.raw_host
    assert not target.userinfo
    for part in (target.raw_host, target.netloc, target.raw_path):
        assert not set(part) & set(b"\r\n\0 "), "would end a line of the request"
    _filename(target)


def addresses(data: bytes) -> None:
    """No address that Python itself calls private, or that carries one, is public."""
    text = data.decode("latin-1")
    public = is_public_address(text)
    for address in (text, str(ipaddress.ip_address(data)) if len(data) in (4, 16) else ""):
        if not is_public_address(address):
            continue
        plain = plain_address(address)
        assert plain is not None
        assert plain.is_global
        for kind in ("private", "loopback", "link_local", "multicast", "reserved", "unspecified"):
            assert not getattr(plain, f"is_{kind}")
    assert not public or plain_address(text) is not None


def event_streams(data: bytes) -> None:
    """An engine's stream has the same events however it is cut, up to where it breaks."""
    whole = EventRewriter(lambda event: event, every=True)
    sent = whole.feed(data)
    pieces = EventRewriter(lambda event: event, every=True)
    step = 1 + len(data) % 7
    together = b""
    for at in range(0, len(data), step):
        together += pieces.feed(data[at : at + step])
        if pieces.failure is not None:
            break
    assert (whole.failure is None) == (pieces.failure is None)
    assert _events(together) == _events(sent)


def _events(stream: bytes) -> list[bytes]:
    return [event for part in stream.split(b"\n\n") if (event := part.strip(b"\n"))]


NETWORK_TARGETS = (
    Target(
        "data_urls",
        data_urls,
        (b"data:image/png;base64,iVBORw0KGgo=", b"data:a/b;c=d;base64,", b"DATA:x/y;base64,AA=="),
    ),
    Target(
        "media_urls",
        media_urls,
        (
            *(b"https://example.org:8443/a%20b.png?x=1#y", b"http://[::ffff:127.0.0.1]/", b"http://u:p@h/"),
            *(
                "http://b\u00fccher.example/\u00fc?\u00fc".encode(),
                b"http://xn--a-/",
                b"http://1.2.3.4:80\\@5.6.7.8/",
            ),
        ),
    ),
    Target(
        "addresses",
        addresses,
        (
            b"8.8.8.8",
            b"2606:4700::1111",
            b"::ffff:10.0.0.1",
            b"fe80::1%eth0",
            bytes(4),
            b"\x20\x02" + bytes(14),
        ),
    ),
    Target(
        "event_streams",
        event_streams,
        (
            b'data: {"choices":[{"finish_reason":"stop"}]}\n\n: ping\n\ndata: {"usage":{"a":1}}\n\n' + DONE,
            b"data: x\n\n",
        ),
    ),
)
