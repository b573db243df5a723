"""Which platform runs with a data folder on this machine: a small file in it, and whether its process lives."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import platform
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

from deploy.errors import AlreadyRunning
from deploy.settings import Settings

__all__ = [
    "RunningRecord",
    "forget_running",
    "local_url",
    "log_file",
    "note_running",
    "one_starts",
    "process_of",
    "read_running",
]

_EVERYWHERE = "0.0.0.0"  # noqa: S104 - compared with, not listened on
_SAME_SECONDS = 2.0  # how exactly the system tells when a process began


@dataclass(frozen=True, slots=True)
class RunningRecord:
    """A platform that was started: ``pid`` of ``manymodal serve`` and when that process began (Unix seconds), its
    address, and the file that its lines go to (``None``: a terminal).
    """

    pid: int
    began_at: float
    machine: str
    url: str
    profile: str
    log: str | None

    @classmethod
    def of(cls, process: psutil.Process, url: str, profile: str, log: Path | None) -> RunningRecord:
        """The record of a process that runs now. Raises ``psutil.NoSuchProcess``."""
        where = None if log is None else str(log)
        return cls(process.pid, process.create_time(), platform.node(), url, profile, where)


def local_url(settings: Settings) -> str:
    """Where a platform of these settings answers, seen from its own machine."""
    host = "127.0.0.1" if settings.host == _EVERYWHERE else settings.host
    return f"http://{host}:{settings.port}"


def log_file(data_dir: Path) -> Path:
    """Where the lines of a platform in the background go."""
    return _folder(data_dir) / "serve.log"


def process_of(record: RunningRecord) -> psutil.Process | None:
    """The process that a record is about; ``None`` when it has ended, or is one of another machine.

    A process id is given again to others; when it began tells them apart.
    """
    if record.machine != platform.node():
        return None
    try:
        process = psutil.Process(record.pid)
        same = abs(process.create_time() - record.began_at) <= _SAME_SECONDS
        return process if same and process.status() != psutil.STATUS_ZOMBIE else None
    except psutil.Error:
        return None


def read_running(data_dir: Path) -> RunningRecord | None:
    """The platform that runs with this data folder on this machine, if one does."""
    try:
        record = RunningRecord(**json.loads(_file(data_dir).read_text("utf-8")))
    except (OSError, ValueError, TypeError):  # none, or one of another version
        return None
    return record if process_of(record) is not None else None


def note_running(data_dir: Path, record: RunningRecord) -> None:
    """From now on ``record`` is what ``read_running`` finds."""
    file = _file(data_dir)
    file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    part = file.with_suffix(f".{os.getpid()}")
    part.write_text(json.dumps(asdict(record)), "utf-8")
    part.replace(file)


def forget_running(data_dir: Path, pid: int) -> None:
    """Remove the record if it is that of process ``pid``."""
    file = _file(data_dir)
    with contextlib.suppress(OSError, ValueError):
        if json.loads(file.read_text("utf-8")).get("pid") == pid:
            file.unlink()


@contextlib.contextmanager
def one_starts(data_dir: Path) -> Iterator[None]:
    """Only one command at a time starts a platform here. Raises ``AlreadyRunning`` at once when another does."""
    folder = _folder(data_dir)
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    with (folder / "starting.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise AlreadyRunning(
                f"Another `manymodal up` is starting a platform with the data folder {data_dir} right now."
            ) from None
        yield


def _folder(data_dir: Path) -> Path:
    return data_dir / "run"


def _file(data_dir: Path) -> Path:
    return _folder(data_dir) / "platform.json"
