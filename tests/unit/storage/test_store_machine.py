"""The object store against a dictionary, with reopening (a restart) and torn staging files as steps."""

from __future__ import annotations

import io
import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from storage.errors import ObjectNotFound
from storage.local import LocalObjectStore

# No key is a folder of another; "-", "." and "0" sort around "/", which tests the order of listings.
KEYS = st.sampled_from(["a-", "a.b", "a/b", "a/c-d", "a/c/d", "a/c0", "a0", "b/x", "b0"])
PREFIXES = st.sampled_from(["", "a", "a/", "a/c", "a/c/", "b", "b/x", "z"])
DATA = st.binary(max_size=40)


class StoreMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.root = Path(tempfile.mkdtemp(prefix="store-machine-"))
        self.store = LocalObjectStore(self.root)
        self.model: dict[str, bytes] = {}

    @rule(key=KEYS, data=DATA, streamed=st.booleans())
    def put(self, key: str, data: bytes, streamed: bool) -> None:
        self.store.put(key, io.BytesIO(data) if streamed else data)
        self.model[key] = data

    @rule(key=KEYS, data=DATA, streamed=st.booleans())
    def put_if_absent(self, key: str, data: bytes, streamed: bool) -> None:
        created = self.store.put_if_absent(key, io.BytesIO(data) if streamed else data)
        assert created == (key not in self.model)
        self.model.setdefault(key, data)

    @rule(key=KEYS)
    def delete(self, key: str) -> None:
        self.store.delete(key)
        self.model.pop(key, None)

    @rule(key=KEYS)
    def read(self, key: str) -> None:
        if key in self.model:
            assert self.store.get(key) == self.model[key]
            assert self.store.head(key).size_bytes == len(self.model[key])
            with self.store.open(key) as stream:
                assert stream.read() == self.model[key]
        else:
            for use in (self.store.get, self.store.head, self.store.open):
                with pytest.raises(ObjectNotFound):
                    use(key)

    @rule(prefix=PREFIXES)
    def list_prefix(self, prefix: str) -> None:
        listed = [(info.key, info.size_bytes) for info in self.store.list(prefix)]
        assert listed == sorted((k, len(v)) for k, v in self.model.items() if k.startswith(prefix))

    @rule(torn=DATA)
    def crash_and_restart(self, torn: bytes) -> None:
        (self.root / "staging" / "0123456789abcdef").write_bytes(torn)
        self.store = LocalObjectStore(self.root)
        self.store.probe()

    @invariant()
    def everything_is_listed(self) -> None:
        assert [info.key for info in self.store.list("")] == sorted(self.model)

    def teardown(self) -> None:
        shutil.rmtree(self.root)


StoreMachine.TestCase.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)
TestStoreMachine = StoreMachine.TestCase
