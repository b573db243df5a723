"""Which IP addresses a media URL may lead to: globally reachable unicast, nothing else.

``ipaddress.is_global`` alone is not enough (seen on Python 3.11): it calls multicast, 6to4, NAT64,
IPv4-compatible and site-local addresses global, and several of those carry an IPv4 address inside that may be
private. Addresses of this machine's own network cards are told here too: they may be public, and what listens on
them is often meant for the machine itself.
"""

from __future__ import annotations

import ipaddress

import psutil

__all__ = ["addresses_of_this_machine", "is_public_address", "plain_address"]

_GLOBAL_UNICAST_6 = ipaddress.IPv6Network("2000::/3")
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")

# Networks inside the global ranges that are special by the IANA registries. Teredo and 6to4 tunnel to an IPv4
# address of the sender's choice; 2001::/23 holds protocol assignments; the rest is documentation and tests.
_REFUSED_6 = tuple(
    ipaddress.IPv6Network(network)
    for network in ("2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20", "3ffe::/16", "2620:4f:8000::/48")
)
_REFUSED_4 = tuple(
    ipaddress.IPv4Network(network)
    for network in (
        "0.0.0.0/8",
        "100.64.0.0/10",
        "192.0.0.0/24",
        "192.31.196.0/24",
        "192.52.193.0/24",
        "192.88.99.0/24",
        "192.175.48.0/24",
        "198.18.0.0/15",
        "224.0.0.0/4",
        "240.0.0.0/4",
    )
)


def is_public_address(text: str) -> bool:
    """Whether ``text``, an address as ``getaddrinfo`` gives it, is a globally reachable unicast address."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return False
    if isinstance(address, ipaddress.IPv4Address):
        return _is_public_4(address)
    return _is_public_6(address)


def plain_address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """The address that a connection to ``text`` ends at, without zone: the IPv4 address inside, where IPv6 only
    carries one (mapped, NAT64). ``None`` for what is no address.
    """
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            return address.ipv4_mapped
        if address in _NAT64:
            return ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF)
    return address


def addresses_of_this_machine() -> frozenset[ipaddress.IPv4Address | ipaddress.IPv6Address]:
    """Those of its network cards, in the form of ``plain_address``. Reads the kernel's list, in under 1 ms."""
    found = (plain_address(entry.address) for card in psutil.net_if_addrs().values() for entry in card)
    return frozenset(address for address in found if address is not None)


def _is_public_4(address: ipaddress.IPv4Address) -> bool:
    return address.is_global and not any(address in network for network in _REFUSED_4)


def _is_public_6(address: ipaddress.IPv6Address) -> bool:
    if address.scope_id is not None:
        return False
    if address.ipv4_mapped is not None:
        return _is_public_4(address.ipv4_mapped)
    low = int(address) & 0xFFFF_FFFF
    if address in _NAT64:
        return _is_public_4(ipaddress.IPv4Address(low))
    if address not in _GLOBAL_UNICAST_6 or not address.is_global:
        return False
    # ISATAP interface identifiers (RFC 5214) carry an IPv4 address behind 0:5efe or 200:5efe.
    if (int(address) >> 32) & 0xFDFF_FFFF == 0x0000_5EFE and not _is_public_4(ipaddress.IPv4Address(low)):
        return False
    return not any(address in network for network in _REFUSED_6)
