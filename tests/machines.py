"""Machines of a small network on this host: network namespaces behind one bridge, whose wires may be cut.

Needs root and ``ip``; ``cannot_make()`` says why not. Each machine has an address of its own that this host and the
others reach, its own ports, and, where asked for, folders of its own in place of shared ones such as ``/tmp/ray``.
Processes and memory are the host's.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType

import psutil

__all__ = ["Machine", "Network", "cannot_make"]

_END_SECONDS = 20.0


def cannot_make() -> str | None:
    """Why there can be no machines here; ``None`` where there can."""
    if os.geteuid() != 0:
        return "network namespaces need root"
    if shutil.which("ip") is None:
        return "network namespaces need the program ip (iproute2)"
    name = f"mmtry{os.getpid()}"
    tried = subprocess.run(["ip", "link", "add", name, "type", "bridge"], capture_output=True, check=False)
    if tried.returncode:
        return "this kernel makes no bridges"
    _ip("link", "del", name)
    tried = subprocess.run(["ip", "netns", "add", name], capture_output=True, check=False)
    if tried.returncode:
        return "this kernel makes no network namespaces"
    _ip("netns", "del", name)
    return None


class Machine:
    """One namespace. ``command`` makes of a command one that runs there."""

    def __init__(
        self, namespace: str, wire: str, bridge: str, address: str, folders: Mapping[str, Path]
    ) -> None:
        self.address = address
        self._namespace = namespace
        self._wire = wire
        self._bridge = bridge
        self._folders = folders

    def command(self, command: Sequence[str]) -> list[str]:
        """The same command on this machine, with its own folders."""
        mounts = [f"mount --bind {shlex.quote(str(own))} {name}" for name, own in self._folders.items()]
        # No name server answers there: without this every look-up of a name would wait for one.
        mounts.append("mount --bind /dev/null /etc/resolv.conf")
        script = " && ".join([*mounts, f"exec {shlex.join(command)}"])
        return ["ip", "netns", "exec", self._namespace, "sh", "-c", script]

    def processes(self) -> list[psutil.Process]:
        """All that run there now."""
        listed = subprocess.run(
            ["ip", "netns", "pids", self._namespace], capture_output=True, text=True, check=True
        )
        found = []
        for word in listed.stdout.split():
            with contextlib.suppress(psutil.NoSuchProcess):
                found.append(psutil.Process(int(word)))
        return found

    def titled(self, beginning: str) -> list[psutil.Process]:
        """Processes there whose title, or program, begins so."""
        found = []
        for process in self.processes():
            with contextlib.suppress(psutil.NoSuchProcess):
                words = process.cmdline()
                if words and (words[0].startswith(beginning) or Path(words[0]).name.startswith(beginning)):
                    found.append(process)
        return found

    def power_off(self) -> None:
        """End everything there at once (SIGKILL), as when the machine loses its power."""
        deadline = time.monotonic() + _END_SECONDS
        while processes := self.processes():
            for process in processes:
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.send_signal(signal.SIGKILL)
            if time.monotonic() > deadline:
                raise RuntimeError(f"processes outlive SIGKILL: {processes}")
            time.sleep(0.02)

    def cut(self) -> None:
        """Cut its wire: what is sent to it or by it is lost, and nobody is told."""
        _ip("link", "set", self._wire, "nomaster")

    def mend(self) -> None:
        """Join what ``cut`` has cut."""
        _ip("link", "set", self._wire, "master", self._bridge)


class Network:
    """A bridge with this host at its first address; ``add`` machines. All ends with the context."""

    def __init__(self) -> None:
        self._names = f"mm{os.getpid()}"[:11]
        self._net = f"10.213.{os.getpid() % 256}"
        self._machines: list[Machine] = []

    @property
    def host_address(self) -> str:
        """Where the machines reach this host."""
        return f"{self._net}.1"

    def __enter__(self) -> Network:
        _ip("link", "add", self._names, "type", "bridge")
        _ip("addr", "add", f"{self.host_address}/24", "dev", self._names)
        _ip("link", "set", self._names, "up")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, machine in enumerate(self._machines):
            machine.power_off()
            _ip("netns", "del", f"{self._names}-{number}")
        _ip("link", "del", self._names)

    def add(self, folders: Mapping[str, Path] | None = None) -> Machine:
        """A new machine. ``folders``: what lies there in place of this host's folder of that name."""
        number = len(self._machines)
        namespace, wire = f"{self._names}-{number}", f"{self._names}w{number}"
        for shared, own in (folders or {}).items():
            Path(shared).mkdir(parents=True, exist_ok=True)
            own.mkdir(parents=True, exist_ok=True)
        machine = Machine(namespace, wire, self._names, f"{self._net}.{10 + number}", folders or {})
        _ip("netns", "add", namespace)
        self._machines.append(machine)
        _ip("link", "add", wire, "type", "veth", "peer", "name", "eth0", "netns", namespace)
        _ip("link", "set", wire, "master", self._names)
        _ip("link", "set", wire, "up")
        for words in (
            ("link", "set", "lo", "up"),
            ("link", "set", "eth0", "up"),
            ("addr", "add", f"{machine.address}/24", "dev", "eth0"),
            # This host passes nothing on. But whoever looks for a way out, to know its own address, finds one.
            ("route", "add", "default", "via", self.host_address),
        ):
            _ip("-n", namespace, *words)
        return machine


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)
