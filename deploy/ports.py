"""Ports of this machine: whether one is free, and one that is."""

from __future__ import annotations

import socket

__all__ = ["free_port", "is_free"]


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
    """A loopback port nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
