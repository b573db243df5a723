"""The fetcher on a machine of its own, for ``tests/contract/test_fetch_in_network_namespace.py``, which runs it by
``unshare --net --mount``.

This network namespace is the platform's machine: every private address is one of its own, so that whatever listens
inside would be reached, and a public one too. A second namespace behind a wire is the rest of the world: whatever
address is asked for, it answers. The names are those of ``hostile_names``, asked for by the system's own resolver.
Whoever tries to connect to whom is read from the wires, both loopback and the one between. Prints what happened.
"""

from __future__ import annotations

import asyncio
import ipaddress
import json
import socket
import struct
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hostile_names import HostileZone, served
from hostile_urls import urls
from hostile_web import listening, redirecting

PUBLIC, OWN, NAME_SERVER = "93.184.216.34", "93.184.216.99", "198.51.100.1"
PORTS = (80, 443, 8000, 8080, 8443)
CONTROLS = ("127.0.0.1", "10.0.0.5", "169.254.169.254", "::1", "fd00::5", OWN)
PRIVATE = (
    *("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12"),
    *(
        "192.168.0.0/16",
        f"{OWN}/32",
        "fc00::/7",
        "fec0::/10",
        "::/96",
        "::ffff:0:0/96",
        "64:ff9b::/96",
        "2002::/16",
    ),
    *("64:ff9b:1::/48", "2001::/32"),
)


def ip(*words: str, must: bool = True) -> None:
    """The command of the same name."""
    subprocess.run(["ip", *words], check=must, capture_output=not must)


async def world() -> None:
    """The rest of the world, in a namespace of its own: anybody may be asked, and answers."""
    say("here")
    await asyncio.to_thread(sys.stdin.readline)
    for words in (
        ("link", "set", "lo", "up"),
        ("link", "set", "world", "up"),
        ("addr", "add", f"{NAME_SERVER}/24", "dev", "world"),
        ("-6", "addr", "add", "2600:1::1/64", "dev", "world", "nodad"),
        # Every address is local, but for the way back to who asks.
        ("rule", "add", "pref", "10", "to", "198.51.100.2/32", "lookup", "main"),
        ("rule", "add", "pref", "20", "lookup", "local"),
        ("rule", "del", "pref", "0"),
        ("route", "add", "local", "default", "dev", "lo", "table", "local"),
        ("-6", "rule", "add", "iif", "world", "lookup", "100"),
        ("-6", "route", "add", "local", "default", "dev", "lo", "table", "100"),
    ):
        ip(*words)
    reached: list[str] = []
    zone = HostileZone(PUBLIC, OWN)
    with served(zone, NAME_SERVER, 53):
        async with listening(PORTS, ["0.0.0.0", "::"], reached):  # noqa: S104 - in a network of its own
            say("ready")
            await asyncio.to_thread(sys.stdin.readline)
    say(json.dumps({"reached": sorted(set(reached)), "asked": zone.asked}))


@contextmanager
def wires_read(found: set[tuple[str, int]]) -> Iterator[None]:
    """Note the destination of every TCP SYN on every interface of this namespace."""
    wire = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(3))  # ETH_P_ALL
    wire.settimeout(0.1)
    over = threading.Event()

    def read() -> None:
        while True:
            try:
                packet, about = wire.recvfrom(65535)
            except TimeoutError:
                if over.is_set():
                    return
                continue
            if about[1] == 0x0800 and packet[9] == 6:
                to, segment = packet[16:20], packet[(packet[0] & 15) * 4 :]
            elif about[1] == 0x86DD and packet[6] == 6:
                to, segment = packet[24:40], packet[40:]
            else:
                continue
            if segment[13] & 0x12 == 0x02:  # SYN without ACK
                found.add((str(ipaddress.ip_address(to)), struct.unpack("!H", segment[2:4])[0]))

    reader = threading.Thread(target=read)
    reader.start()
    try:
        yield
    finally:
        over.set()
        reader.join()
        wire.close()


def wire_up(other: subprocess.Popen[str], resolver: Path) -> None:
    """Make this namespace the platform's machine, with a way to the other one, and its names."""
    hear(other, "here")
    ip("link", "add", "inside", "type", "veth", "peer", "name", "world", "netns", str(other.pid))
    for words in (
        ("link", "set", "lo", "up"),
        ("link", "set", "inside", "up"),
        ("addr", "add", "198.51.100.2/24", "dev", "inside"),
        ("-6", "addr", "add", "2600:1::2/64", "dev", "inside", "nodad"),
        ("route", "add", "default", "via", NAME_SERVER),
        ("-6", "route", "add", "default", "via", "2600:1::1"),
    ):
        ip(*words)
    for network in PRIVATE:
        ip("-6" if ":" in network else "-4", "route", "add", "local", network, "dev", "lo", must=False)
    ip("addr", "add", f"{OWN}/32", "dev", "lo")
    resolver.write_text(f"nameserver {NAME_SERVER}\noptions timeout:1 attempts:1\n")
    subprocess.run(["mount", "--make-rprivate", "/"], check=True)
    subprocess.run(["mount", "--bind", str(resolver), str(Path("/etc/resolv.conf").resolve())], check=True)
    tell(other, "go on")
    hear(other, "ready")


async def platform() -> dict[str, object]:
    """Try everything; who inside was reached, to whom connections were begun, and how the tries ended."""
    reached: list[str] = []
    tried: set[tuple[str, int]] = set()
    async with listening(PORTS, ["0.0.0.0", "::"], reached):  # noqa: S104 - in a network of its own
        with wires_read(tried):
            ends, control = await tries()
        found = {"inside": list(reached), "tried": sorted(tried - {(NAME_SERVER, 53)})}
        # Were somebody inside reached, it would be seen.
        unnoticed = [one for one in CONTROLS if not await noticed(one, reached, tried)]
    return {**found, "ends": ends, "control": control, "unnoticed": unnoticed}


async def noticed(address: str, reached: list[str], tried: set[tuple[str, int]]) -> bool:
    """Whether a connection to an address inside is seen by both, the listener and who reads the wires."""
    reached.clear()
    tried.clear()
    with wires_read(tried):
        reader, writer = await asyncio.open_connection(address, 80)
        writer.write(b"GET / HTTP/1.1\r\n\r\n")
        await reader.read()
        writer.close()
    return reached == [address] and tried == {(address, 80)}


async def tries() -> tuple[dict[str, int], str]:
    """Fetch every hostile URL as it is and behind a redirect, and one public one."""
    from serving.config import RequestLimits
    from serving.errors import LimitExceeded, MediaFetchFailed
    from serving.fetch import MediaFetcher

    fetcher = MediaFetcher(RequestLimits(max_media_bytes=10_000, fetch_timeout_seconds=20.0, max_redirects=3))
    turns = asyncio.Semaphore(16)

    async def outcome(url: str) -> str:
        async with turns:
            try:
                async with fetcher.open(url) as fetched:
                    return b"".join([chunk async for chunk in fetched.body]).decode()
            except (MediaFetchFailed, LimitExceeded) as error:
                return type(error).__name__

    forms = urls()
    forms += [
        redirecting("public.test", url, (301, 302, 303, 307, 308)[n % 5]) for n, url in enumerate(forms)
    ]
    ends: dict[str, int] = {}
    for end in await asyncio.gather(*(outcome(url) for url in forms)):
        ends[end] = ends.get(end, 0) + 1
    await outcome("http://rebind.test/")
    return ends, await outcome("http://public.test/")


def say(line: str) -> None:
    """To whoever started this."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def tell(other: subprocess.Popen[str], line: str) -> None:
    """To the other namespace."""
    assert other.stdin is not None
    other.stdin.write(line + "\n")
    other.stdin.flush()


def hear(other: subprocess.Popen[str], line: str) -> None:
    """Wait until the other namespace says so."""
    assert other.stdout is not None
    if other.stdout.readline() != line + "\n":
        raise SystemExit("the other namespace did not come up")


def main() -> None:
    """One of the two sides."""
    if sys.argv[1:] == ["world"]:
        asyncio.run(world())
        return
    command = ["unshare", "--net", sys.executable, __file__, "world"]
    with (
        tempfile.TemporaryDirectory() as folder,
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other,
    ):
        try:
            wire_up(other, Path(folder) / "resolv.conf")
            found = asyncio.run(platform())
            outside, _ = other.communicate("end\n", timeout=30)
            say(json.dumps(found | json.loads(outside)))
        finally:
            other.kill()


if __name__ == "__main__":
    main()
