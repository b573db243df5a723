"""URLs by which somebody may try to make the fetcher look inside: some hundred spellings of private addresses,
names that lead to them (see ``hostile_names``), schemes, ports, and what parsers of URLs disagree about.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator

__all__ = ["urls"]

_PRIVATE_4 = (
    "127.0.0.1",
    "10.0.0.5",
    "169.254.169.254",
    "192.168.1.1",
    "172.16.0.9",
    "100.64.0.1",
    "0.0.0.0",  # noqa: S104 - a name to be refused
)
_PRIVATE_6 = ("::1", "::", "fd00::5", "fe80::1", "fec0::1", "ff02::1", "fd00:ec2::254")
_SCHEMES = """
    file ftp ftps gopher dict ldap ldaps tftp sftp scp smb nfs ws wss jar:http netdoc phar php javascript
    view-source blob about mailto git svn ssh telnet unix http+unix httpx http2 s3 hdfs rtsp rtmp concat crypto
"""
_PORTS = (
    "22",
    "25",
    "6379",
    "0",
    "-1",
    "65536",
    "99999999999",
    "+80",
    "0x50",
    "\uff18\uff10",
    "\u0668\u0660",
)
_NAMES = """
    localhost LOCALHOST localhost. localhost.localdomain ip6-localhost ip6-loopback a.localhost loc%61lhost
    xn--localhost- localhost%00 loop.test ten.test metadata.test six.test mapped.test nat64.test sixtofour.test
    teredo.test any.test mixed.test mixed-first.test mixed-six.test many.test LOOP.TEST. chain1.test chain4.test
    chain8.test circle.test missing.test refused.test empty.test broken.test rebind-back.test link.test
    multicast.test own.test _loop.test loop.test%2e xn--a.test
"""
# {i} is a private host, {p} a public one.
_CONFUSIONS = (
    *("http://{p}@{i}/", "http://{i}@{p}/", "http://a:b@{i}/", "http://@{i}/", "http://{p}:80@{i}/"),
    *("http://{p}\\@{i}/", "http://{i}\\@{p}/", "http://{i}#@{p}/", "http://{i}?@{p}/", "http://{i};@{p}/"),
    *("http://{i}%23@{p}/", "http://{i}%40{p}/", "http://{p}%40{i}/", "http://{i} {p}/", "http://{i}\t{p}/"),
    *(
        "http://{i}\\.{p}/",
        "http://{i}%5c.{p}/",
        "http://{p}&@{i}#@{p}/",
        "http://{i},{p}/",
        "http://[::1]{p}/",
    ),
    *(
        "http://{i}\r\nHost: {p}/",
        "http://[{p}]@{i}/",
        "http:{i}/",
        "http:/{i}/",
        "http:///{i}/",
        "http:////{i}/",
    ),
    *("//{i}/", "{i}/", "http:\\\\{i}\\", "http:/\\{i}/", "HTTP://{i}/", "hTTp://{i}/", " http://{i}/"),
    *(
        "ht\ttp://{i}/",
        "http\n://{i}/",
        "http://\n{i}/",
        "\x00http://{i}/",
        "http::{i}/",
        "http://{i}",
        "http://{i}?",
    ),
    *(
        "http://{i}#",
        "http://{i}/../../",
        "http://{i}//",
        "url:http://{i}/",
        "https://{i}/",
        "http://",
        "http://?",
    ),
    *("http://#", "http://:80/", "http://./", "http://{i}/\uff0f..", "http://{i}\uff0f@{p}/"),
)


def urls(port: int | None = None) -> list[str]:
    """All of them. Nothing listens at any but ``port``, where that is given."""
    at = "" if port is None else f":{port}"
    made = [f"http://{host}{at}/x.png" for host in _hosts()]
    inside = f"127.0.0.1{at}"
    made += [f"{scheme}://{inside}/etc/passwd" for scheme in _SCHEMES.split()]
    for public in ("public.test", f"public.test{at}"):
        made += [form.format(i=inside, p=public) for form in _CONFUSIONS]
    made += [f"http://{host}:{one}/" for one in _PORTS for host in ("127.0.0.1", "public.test")]
    return list(dict.fromkeys(made))


def _hosts() -> Iterator[str]:
    """Hosts that are private or lead there."""
    for four in _PRIVATE_4:
        yield from _spellings(ipaddress.IPv4Address(four))
    for six in _PRIVATE_6:
        yield from (f"[{six}]", f"[{ipaddress.IPv6Address(six).exploded}]", f"[{six}%25lo]", f"[{six}%1]")
    yield from _NAMES.split()
    yield from ("", "a" * 64 + ".test", "a." * 130 + "test", _wide("localhost"), _wide("loop") + ".test")
    yield from (
        "".join(chr(0x24D0 + ord(one) - ord("a")) for one in "localhost"),
        "loop\u3002test",
        "lo\u00adop.test",
    )


def _spellings(address: ipaddress.IPv4Address) -> Iterator[str]:
    """An IPv4 address as hosts of URLs that some parser or resolver takes for it."""
    plain, number = str(address), int(address)
    parts = [int(part) for part in plain.split(".")]
    circled = {ord(str(digit)): chr(0x245F + digit) for digit in range(1, 10)}
    yield from (plain, plain + ".", _wide(plain), plain.translate(circled))
    yield from (plain.replace(".", dot) for dot in "\u3002\uff0e\uff61\u2024")
    yield from (str(number), hex(number), f"0X{number:08X}", f"0{number:o}", f"0x00000000{number:08x}")
    yield from (str(number + 2**32), _wide(hex(number)))
    for form in (hex, "0{:o}".format, "{:08o}".format, "{:03d}".format, lambda part: str(part + 256)):
        yield ".".join(form(part) for part in parts)
    yield from (
        f"{hex(parts[0])}.0{parts[1]:o}.{number & 0xFFFF}",
        f"{parts[0]}.{parts[1]}.{number & 0xFFFF}",
    )
    yield from (f"{parts[0]}.{number & 0xFFFFFF}", f"0{parts[0]:o}.{hex(number & 0xFFFFFF)}")
    yield from (plain.replace(".", "%2e"), "".join(f"%{ord(one):02x}" for one in plain))
    yield from (
        f"{plain}%00.public.test",
        f"{plain}%2f.public.test",
        f" {plain}",
        f"{plain}\t",
        f"{plain}%20",
    )
    yield from _inside_6(address)


def _inside_6(address: ipaddress.IPv4Address) -> Iterator[str]:
    """IPv6 addresses that carry it."""
    number = int(address)
    words = f"{number >> 16:x}:{number & 0xFFFF:x}"
    turned = f"{~(number >> 16) & 0xFFFF:x}:{~number & 0xFFFF:x}"
    yield from (f"[::ffff:{address}]", f"[::ffff:{words}]", f"[0:0:0:0:0:ffff:{words}]", f"[::FFFF:{words}]")
    yield from (f"[::{address}]", f"[::ffff:0:{address}]", f"[64:ff9b::{address}]", f"[64:ff9b:1::{words}]")
    yield from (f"[2002:{words}::]", f"[2002:{words}::1]", f"[2001:0:4136:e378:8000:63bf:{turned}]")
    yield from (f"[2600::5efe:{address}]", f"[2600::200:5efe:{words}]", f"[::ffff:{address}%25lo]")
    yield from (f"[::ffff:{address}%lo]", f"[fe80::5efe:{words}%25eth0]")


def _wide(text: str) -> str:
    """In full-width characters, which IDNA takes for the plain ones."""
    return "".join(chr(ord(one) + 0xFEE0) for one in text)
