"""The local store against a dictionary, with kills and power losses as steps."""

from __future__ import annotations

import itertools
import random
import shutil
import tempfile
from pathlib import Path

from crash_disk import CrashDisk, Killed
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import rule
from store_machine import DATA, KEYS, StoreMachine

from storage.local import LocalObjectStore
from storage.types import TierPolicy

SEEDS = st.integers(0, 2**32 - 1)


class LocalStoreMachine(StoreMachine):
    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="store-machine-"))
        self.roots = (self.folder / f"{number}" for number in itertools.count())
        root = next(self.roots)
        root.mkdir()
        self.disk = CrashDisk(root)
        self.root = root
        self.open()

    def open(self) -> None:
        self.store = LocalObjectStore(self.root / "store", self.root / "cold", self.disk)

    def tiers(self) -> TierPolicy:
        return TierPolicy(cold_after_days=0)

    def kill(self, operations: int, key: str, work: str, data: bytes, source: str) -> None:
        """Kill the process in the middle of ``work``, then start another one."""
        copied = self.found(source)
        before = self.found(key)
        try:
            with self.disk.killed_after(operations):
                match work:
                    case "put":
                        self.allowed(key).add(data)
                        self.store.put(key, data)
                        self.model[key] = {data}
                    case "put if absent":
                        if before is None:
                            self.allowed(key).add(data)
                        self.store.put_if_absent(key, data)
                        self.model[key] = {data if before is None else before}
                    case "copy" if copied is not None:
                        if before is None:
                            self.allowed(key).add(copied)
                        self.store.copy_if_absent(source, key)
                        self.model[key] = {copied if before is None else before}
                    case "delete":
                        self.allowed(key).add(None)
                        self.store.delete(key)
                        self.model[key] = {None}
                    case "make cold":
                        self.store.apply_tiers(self.tiers())
        except Killed:
            pass
        self.open()

    WORK = st.sampled_from(["put", "put if absent", "copy", "delete", "make cold"])

    @rule(operations=st.integers(0, 14), key=KEYS, work=WORK, data=DATA, source=KEYS)
    def kill_and_restart(self, operations: int, key: str, work: str, data: bytes, source: str) -> None:
        self.kill(operations, key, work, data, source)

    @rule(seed=SEEDS)
    def lose_power(self, seed: int) -> None:
        root = next(self.roots)
        self.disk.lose_power(random.Random(seed)).write_to(root)  # noqa: S311 - no secret
        self.root = root
        self.disk = CrashDisk(root)
        self.open()
        self.store.probe()
        for key in self.model:  # what is found on the disk is durable
            self.model[key] = {self.found(key)}

    @rule(operations=st.integers(0, 14), key=KEYS, work=WORK, data=DATA, source=KEYS, seed=SEEDS)
    def kill_and_lose_power(
        self, operations: int, key: str, work: str, data: bytes, source: str, seed: int
    ) -> None:
        self.kill(operations, key, work, data, source)
        self.lose_power(seed)

    def teardown(self) -> None:
        shutil.rmtree(self.folder)


LocalStoreMachine.TestCase.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)
TestLocalStoreMachine = LocalStoreMachine.TestCase
