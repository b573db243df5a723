"""Ports of this machine: whether one is free, and one that is."""

from __future__ import annotations

import random
import socket

__all__ = ["free_port", "is_free"]

_PORTS = range(20_000, 32_000)


def is_free(host: str, port: int) -> bool:
    """Whether a server could listen on ``host:port`` now. An address still in TIME_WAIT counts as free."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True


def free_port() -> int:
    """A loopback port nobody listens on now.

    Not one of those that the system gives to connections (on Linux from 32768 on): it might give it to one before
    it is used. Nor one of Ray's workers' (10002 to 19999).
    """
    for port in random.sample(_PORTS, 100):  # nothing secret
        if is_free("127.0.0.1", port):
            return port
    raise OSError("No port between 20000 and 32000 is free.")
