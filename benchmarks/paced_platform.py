"""A platform of stand-ins in a process of its own, which does what it is told by lines of JSON.

The application, its settings and the way it is started, updated and stopped are the real ones; no model is loaded.
Whoever measures keeps a process free of Ray: ``with PacedPlatform({"port": ...}) as platform``.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from queue import Empty, Queue
from types import TracebackType
from typing import Any

from benchmarks.paced_deployments import Pace, paced_classes
from benchmarks.servers import module
from deploy.ports import free_port

__all__ = ["PacedPlatform", "PlatformFailed", "paced_settings"]

_START_SECONDS = 180.0
_STOP_SECONDS = 120.0


def paced_settings(folder: Path, **more: Any) -> dict[str, Any]:
    """Settings of a platform of stand-ins on this machine, several gateways behind HAProxy; ``more`` win."""
    given = {
        "port": free_port(),
        "data_dir": str(folder / "data"),
        "ingress": "haproxy",
        "log_level": "WARNING",
        "start_timeout_seconds": 170,
        **more,
    }
    return {**given, "chat": {"side_channel": False, **given.get("chat", {})}}


class PlatformFailed(Exception):
    """The platform did not do what it was told. The message ends with what it last wrote."""


class PacedPlatform:
    """A running platform: settings are those of ``load_settings``, given as it takes them."""

    def __init__(self, settings: Mapping[str, Any], pace: Pace, log: Path) -> None:
        self._settings = dict(settings)
        self._pace = pace
        self._log = log
        self._replies: Queue[dict[str, Any] | None] = Queue()
        self.base_url = ""

    def __enter__(self) -> PacedPlatform:
        self._output = self._log.open("wb")
        self._process = subprocess.Popen(
            module("benchmarks.paced_platform"),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._output,
            text=True,
            start_new_session=True,
            cwd=Path(__file__).parents[1],
        )
        self._listening = threading.Thread(target=self._listen, daemon=True)
        self._listening.start()
        try:
            self.base_url = self._told(_START_SECONDS, start=self._settings, pace=asdict(self._pace))["url"]
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.close()  # it stops when nobody is left to tell it anything
            self._process.wait(_STOP_SECONDS)
        except (subprocess.TimeoutExpired, BrokenPipeError):
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait(10)
        finally:
            self._listening.join(10)
            self._output.close()

    def deploy(
        self, settings: Mapping[str, Any], pace: Pace, seconds: float = _START_SECONDS
    ) -> dict[str, Any]:
        """Update the application in place; returns when every replica is a new one."""
        return self._told(seconds, deploy={**self._settings, **settings}, pace=asdict(pace))

    def replicas(self) -> dict[str, dict[str, int]]:
        """Of each deployment: how many replicas are in which state of Ray Serve's."""
        replicas: dict[str, dict[str, int]] = self._told(30.0, replicas=True)["replicas"]
        return replicas

    def running(self, deployment: str) -> int:
        """How many replicas of a deployment are running."""
        return self.replicas().get(deployment, {}).get("RUNNING", 0)

    def _told(self, seconds: float, **command: Any) -> dict[str, Any]:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(command, default=str) + "\n")
            self._process.stdin.flush()
            reply = self._replies.get(timeout=seconds)
        except (Empty, BrokenPipeError):
            reply = {"failed": f"it did not answer within {seconds:g} s"}
        if reply is None or "failed" in reply:
            why = "it ended" if reply is None else reply["failed"]
            raise PlatformFailed(f"{why}; its output: {self._log.read_text('utf-8', 'replace')[-3000:]}")
        return reply

    def _listen(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as output:
            for line in output:
                if line.startswith("{"):
                    self._replies.put(json.loads(line))
        self._replies.put(None)


def _serve(commands: Any) -> None:
    """In the platform's process: obey until the input ends."""
    from deploy.platform import running_platform, update_platform
    from deploy.settings import load_settings

    first = json.loads(next(commands))
    settings = load_settings(first["start"])
    with running_platform(settings, classes=paced_classes(Pace(**first["pace"]))) as platform:
        _reply(url=platform.base_url)
        for line in commands:
            command = json.loads(line)
            if "deploy" in command:
                update_platform(
                    load_settings(command["deploy"]), classes=paced_classes(Pace(**command["pace"]))
                )
                _reply(deployed=True)
            else:
                # Not before: Ray reads its environment when it is imported.
                from ray import serve

                from deploy.app import APPLICATION_NAME

                deployments = serve.status().applications[APPLICATION_NAME].deployments
                _reply(replicas={name: dict(one.replica_states) for name, one in deployments.items()})


def _reply(**reply: Any) -> None:
    print(json.dumps(reply), flush=True)


if __name__ == "__main__":
    logging.basicConfig(level=logging.WARNING)
    _serve(sys.stdin)
