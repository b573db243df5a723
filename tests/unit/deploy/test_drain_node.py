"""What a pod does before it ends, with stand-ins for `ray` and for the health check of a machine."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[3] / "deploy/docker/drain-node.sh"


class FakeRaylet(ThreadingHTTPServer):
    """Says whether a machine is healthy, one answer after the other, and then nothing more: it has ended."""

    def __init__(self, *healthy: bool) -> None:
        self.asked = 0

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                server: FakeRaylet = self.server
                well = server.asked < len(healthy) and healthy[server.asked]
                server.asked += 1
                self.send_response(200 if well else 503)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        super().__init__(("127.0.0.1", 0), Handler)


@pytest.fixture
def raylet() -> Iterator[FakeRaylet]:
    """One that misses a question or two, as busy ones do, and is gone after the sixth."""
    server = FakeRaylet(True, False, True, False, False, True)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def drain(folder: Path, seconds: int, raylet: FakeRaylet, ray_exits: int) -> tuple[str, str]:
    """Run the hook; what it said, and how `ray` was called."""
    ray = folder / "ray"
    ray.write_text(f'#!/bin/sh\necho "$@" >"{folder}/called"\nexit {ray_exits}\n', "utf-8")
    ray.chmod(0o700)
    (folder / "python").symlink_to(sys.executable)
    environment = {
        "PATH": f"{folder}:{os.environ['PATH']}",
        "DRAIN_NODE_HEALTH": f"http://127.0.0.1:{raylet.server_port}/api/healthz",
        "DRAIN_NODE_STEP_SECONDS": "0.05",
        "DRAIN_NODE_LOG": str(folder / "said"),
    }
    done = subprocess.run([SCRIPT, str(seconds)], env=environment, check=False, timeout=120)
    assert done.returncode == 0
    return (folder / "said").read_text("utf-8"), (folder / "called").read_text("utf-8")


def test_it_tells_ray_and_waits_until_the_machine_has_ended(tmp_path: Path, raylet: FakeRaylet):
    said, called = drain(tmp_path, 600, raylet, ray_exits=0)
    assert "nothing is left here" in said
    assert raylet.asked == 9
    assert called.split()[:3] == ["drain-node", "--reason", "DRAIN_NODE_REASON_PREEMPTION"]
    assert called.split()[-2:] == ["--deadline-remaining-seconds", "600"]


def test_it_waits_no_longer_than_it_may(tmp_path: Path, raylet: FakeRaylet):
    said, _ = drain(tmp_path, 0, raylet, ray_exits=0)
    assert "answers were still running" in said
    assert raylet.asked == 0


def test_a_ray_that_does_not_answer_keeps_no_pod(tmp_path: Path, raylet: FakeRaylet):
    said, _ = drain(tmp_path, 600, raylet, ray_exits=1)
    assert "running answers may break off" in said
    assert raylet.asked == 0
