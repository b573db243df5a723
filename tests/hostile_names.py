"""A name server that leads inside: the zone ``test`` of the fetcher's tests, served by dnslib over UDP and TCP."""

from __future__ import annotations

import re
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from dnslib import AAAA, CNAME, QTYPE, RCODE, RR, A, DNSError, DNSRecord
from dnslib.label import DNSLabelError
from dnslib.server import BaseResolver, DNSLogger, DNSServer

__all__ = ["HostileZone", "ask", "served"]

_PRIVATE: dict[str, tuple[str, ...]] = {
    "loop": ("127.0.0.1",),
    "ten": ("10.0.0.5",),
    "metadata": ("169.254.169.254",),
    "six": ("::1",),
    "mapped": ("::ffff:7f00:1",),
    "nat64": ("64:ff9b::7f00:1",),
    "sixtofour": ("2002:7f00:1::1",),
    "teredo": ("2001:0:4136:e378:8000:63bf:80ff:fffe",),
    "any": ("0.0.0.0",),  # noqa: S104 - an answer, not an address to listen on
    "link": ("fe80::1",),
    "multicast": ("224.0.0.1",),
}


class HostileZone(BaseResolver):  # type: ignore[misc]  # dnslib has no types
    """Answers for ``*.test``. ``public`` are addresses that anybody may reach, ``own`` one of this machine's."""

    def __init__(self, public: str, own: str) -> None:
        self.public = public
        self.asked: Counter[str] = Counter()
        self._lock = threading.Lock()
        self._zone = _PRIVATE | {
            "public": (public,),
            "own": (own,),
            "mixed": (public, "127.0.0.1"),
            "mixed-first": ("127.0.0.1", public),
            "mixed-six": (public, "::1"),
            "many": (*(f"93.184.{high}.{low}" for high in range(2) for low in range(1, 60)), "10.0.0.5"),
            "empty": (),
        }

    def resolve(self, request: DNSRecord, handler: object) -> DNSRecord:
        """See dnslib."""
        reply = request.reply()
        name = str(request.q.qname).rstrip(".").lower().removesuffix(".test")
        kind = QTYPE[request.q.qtype]
        with self._lock:
            self.asked[f"{name} {kind}"] += 1
            times = self.asked[f"{name} {kind}"]
        if name == "refused":
            reply.header.rcode = RCODE.REFUSED
        elif name == "broken":
            reply.header.rcode = RCODE.SERVFAIL
        elif name == "circle":
            reply.add_answer(RR("circle.test", QTYPE.CNAME, rdata=CNAME("circle.test"), ttl=0))
        elif name == "rebind":  # a short-lived answer: public for who checks, private for who asks again
            self._add(reply, "rebind.test", (self.public if times == 1 else "127.0.0.1",), kind)
        elif name == "rebind-back":
            self._add(reply, "rebind-back.test", ("127.0.0.1" if times == 1 else self.public,), kind)
        elif chain := re.fullmatch(r"chain([1-8])", name):
            self._add_chain(reply, int(chain[1]), kind)
        elif name in self._zone:
            self._add(reply, f"{name}.test", self._zone[name], kind)
        else:
            reply.header.rcode = RCODE.NXDOMAIN
        return reply

    def _add_chain(self, reply: DNSRecord, links: int, kind: str) -> None:
        for link in range(links, 0, -1):
            target = f"chain{link - 1}.test" if link > 1 else "loop.test"
            reply.add_answer(RR(f"chain{link}.test", QTYPE.CNAME, rdata=CNAME(target), ttl=0))
        self._add(reply, "loop.test", self._zone["loop"], kind)

    def _add(self, reply: DNSRecord, name: str, addresses: tuple[str, ...], kind: str) -> None:
        for address in addresses:
            six = ":" in address
            if kind == ("AAAA" if six else "A"):
                data = AAAA(address) if six else A(address)
                reply.add_answer(RR(name, getattr(QTYPE, kind), rdata=data, ttl=0))


@contextmanager
def served(zone: HostileZone, address: str = "127.0.0.1", port: int = 0) -> Iterator[int]:
    """Serve it, at a free port unless one is named; the port."""
    quiet = DNSLogger(logf=lambda line: None)
    udp = DNSServer(zone, address=address, port=port, logger=quiet)
    port = udp.server.server_address[1]
    tcp = DNSServer(zone, address=address, port=port, tcp=True, logger=quiet)
    servers = (udp.server, tcp.server)
    for server in servers:  # dnslib's own threads look only twice a second whether they should end
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    try:
        yield port
    finally:
        for server in servers:
            server.shutdown()
            server.server_close()


def ask(name: str, port: int) -> list[str]:
    """The addresses of a name by the server on a port of loopback, as a resolver asks: both kinds, TCP after a
    truncated answer. Raises ``OSError`` where there is none.
    """
    found: list[str] = []
    try:
        for kind in ("A", "AAAA"):
            question = DNSRecord.question(name, kind)
            answer = DNSRecord.parse(question.send("127.0.0.1", port, timeout=5))
            if answer.header.tc:
                answer = DNSRecord.parse(question.send("127.0.0.1", port, tcp=True, timeout=5))
            found += [str(record.rdata) for record in answer.rr if QTYPE[record.rtype] in ("A", "AAAA")]
    except (DNSError, DNSLabelError, UnicodeError) as error:
        raise OSError("not a name") from error
    if not found:
        raise OSError("no such name")
    return found
