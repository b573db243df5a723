"""A disk that loses power: records every write and sync below the local object store, then makes the states of the
disk that may be found afterwards.

What POSIX promises, and no more: a file's bytes are there after fsync of the file, a name (new, changed or removed)
after fsync of its folder. Before that every name is, for itself, in any of the states it went through since, and
the bytes written since may be there, be there in part, or be zeros.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, TypeAlias

from storage.filesystem import FileSystem

__all__ = ["CrashDisk", "Killed", "PowerLoss"]


class Killed(BaseException):
    """The process that used the disk was killed: nothing that it would do afterwards happens."""


@dataclass(slots=True)
class _File:
    durable: bytes = b""
    pending: bytes = b""


@dataclass(slots=True)
class _Link:
    content: Path


@dataclass(slots=True)
class _Folder:
    """``history`` of a name are the states that it may be found in: the durable one, then each later one."""

    history: dict[str, list[_Node | None]] = field(default_factory=dict)

    def now(self, name: str) -> _Node | None:
        return self.history.get(name, [None])[-1]

    def set(self, name: str, node: _Node | None) -> None:
        self.history.setdefault(name, [None]).append(node)

    def sync(self) -> None:
        self.history = {name: [states[-1]] for name, states in self.history.items() if states[-1] is not None}


_Node: TypeAlias = _File | _Link | _Folder
_Pick: TypeAlias = Callable[[list[_Node | None]], int]
_Keep: TypeAlias = Callable[[bytes], bytes]


class CrashDisk(FileSystem):
    """A file system below ``root``, whose content at the start counts as durable. Threads may share it."""

    def __init__(self, root: Path) -> None:
        self._disk_root = root
        self._top = _read(root)
        self._written: dict[str, _File] = {}
        self._lock = threading.RLock()
        self._left: int | None = None
        self.operations = 0

    @contextmanager
    def killed_after(self, operations: int) -> Iterator[None]:
        """Within this the process is killed before its operation number ``operations``, counted from 0."""
        self._left = operations
        try:
            yield
        finally:
            self._left = None

    def states(self, seeds: Iterator[int]) -> Iterator[PowerLoss]:
        """What may be found if the power is lost now: nothing unsynced, all of it, then at random."""
        yield PowerLoss(self._top, self._disk_root, lambda states: 0, lambda pending: b"")
        yield PowerLoss(self._top, self._disk_root, lambda states: len(states) - 1, lambda pending: pending)
        for seed in seeds:
            yield self.lose_power(random.Random(seed))  # noqa: S311  (no secret)

    def lose_power(self, chance: random.Random) -> PowerLoss:
        """One state that may be found if the power is lost now."""

        def bytes_kept(pending: bytes) -> bytes:
            kept = pending[: chance.randint(0, len(pending))]
            return kept + bytes(chance.choice([0, len(pending) - len(kept)]))

        return PowerLoss(self._top, self._disk_root, lambda states: chance.randrange(len(states)), bytes_kept)

    def create(self, path: Path) -> BinaryIO:
        with self._step():
            file = super().create(path)
            self._written[file.name] = node = _File()
            self._folder(path.parent).set(path.name, node)
            return file

    def write(self, file: BinaryIO, data: bytes) -> None:
        with self._step():
            super().write(file, data)
            self._written[file.name].pending += data

    def sync(self, file: BinaryIO) -> None:
        with self._step():
            file.flush()  # the real disk under the test need not turn for this
            node = self._written[file.name]
            node.durable, node.pending = node.durable + node.pending, b""

    def sync_folder(self, folder: Path) -> None:
        with self._step():
            if folder == self._disk_root or self._disk_root in folder.parents:
                self._folder(folder).sync()

    def make_folder(self, folder: Path) -> None:
        with self._step():
            super().make_folder(folder)
            if self._folder(folder.parent).now(folder.name) is None:
                self._folder(folder.parent).set(folder.name, _Folder())

    def rename(self, source: Path, target: Path) -> None:
        with self._step():
            super().rename(source, target)
            self._folder(target.parent).set(target.name, self._node(source))
            self._folder(source.parent).set(source.name, None)

    def link(self, source: Path, target: Path) -> None:
        with self._step():
            super().link(source, target)
            self._folder(target.parent).set(target.name, self._node(source))

    def link_symbolic(self, content: Path, path: Path) -> None:
        with self._step():
            super().link_symbolic(content, path)
            self._folder(path.parent).set(path.name, _Link(content))

    def unlink(self, path: Path) -> None:
        with self._step():
            super().unlink(path)
            self._folder(path.parent).set(path.name, None)

    def set_time(self, path: Path, modified_at_ns: int) -> None:
        with self._step():
            super().set_time(path, modified_at_ns)

    @contextmanager
    def _step(self) -> Iterator[None]:
        with self._lock:
            if self._left is not None:
                if self._left == 0:
                    raise Killed
                self._left -= 1
            self.operations += 1
            yield

    def _folder(self, path: Path) -> _Folder:
        node: _Node | None = self._top
        for name in path.relative_to(self._disk_root).parts:
            assert isinstance(node, _Folder)
            node = node.now(name)
        assert isinstance(node, _Folder), path
        return node

    def _node(self, path: Path) -> _Node | None:
        return self._folder(path.parent).now(path.name)


class PowerLoss:
    """One state of the disk after the power was lost."""

    def __init__(self, top: _Folder, root: Path, pick: _Pick, keep: _Keep) -> None:
        self._top = top
        self._root = root
        self._pick = pick
        self._keep = keep
        self._found: dict[int, bytes] = {}

    def write_to(self, root: Path) -> None:
        """Make the state in the new folder ``root``."""
        root.mkdir()
        self._write(self._top, root, root)

    def _write(self, folder: _Folder, path: Path, root: Path) -> None:
        for name, states in folder.history.items():
            node = states[self._pick(states)]
            if isinstance(node, _Folder):
                (path / name).mkdir()
                self._write(node, path / name, root)
            elif isinstance(node, _Link):
                (path / name).symlink_to(root / node.content.relative_to(self._root))
            elif isinstance(node, _File):
                # a file with two names has the same bytes under both
                data = self._found.setdefault(id(node), node.durable + self._keep(node.pending))
                (path / name).write_bytes(data)


def _read(folder: Path) -> _Folder:
    found = _Folder()
    for path in folder.iterdir():
        node: _Node
        if path.is_symlink():
            node = _Link(path.readlink())
        elif path.is_dir():
            node = _read(path)
        else:
            node = _File(path.read_bytes())
        found.history[path.name] = [node]
    return found
