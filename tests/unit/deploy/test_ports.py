"""Ports that stay free until they are used."""

from __future__ import annotations

import socket
from pathlib import Path

from deploy.ports import free_port, is_free


def test_a_free_port_is_none_that_the_system_gives_to_connections():
    port = free_port()
    assert is_free("127.0.0.1", port)
    given = Path("/proc/sys/net/ipv4/ip_local_port_range")
    if given.exists():
        first, last = map(int, given.read_text().split())
        assert not first <= port <= last


def test_a_port_that_somebody_listens_on_is_not_free():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", free_port()))
        listener.listen()
        assert not is_free("127.0.0.1", listener.getsockname()[1])
