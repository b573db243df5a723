"""An object store against a dictionary: the hypothesis machine that both backends' tests run.

After a crash an operation that was under way may have happened or not, so the model keeps for every key the set
of what may lie there; ``None`` is nothing.
"""

from __future__ import annotations

import io

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule

from storage.errors import ObjectNotFound
from storage.objects import ObjectStore
from storage.types import TierPolicy

__all__ = ["DATA", "KEYS", "StoreMachine"]

# No key is a folder of another; "-", "." and "0" sort around "/", which tests the order of listings.
KEYS = st.sampled_from(["a-", "a.b", "blobs/b", "blobs/c-d", "blobs/c/d", "blobs/c0", "a0", "b/x", "b0"])
PREFIXES = st.sampled_from(["", "a", "blobs/", "blobs/c", "blobs/c/", "b", "b/x", "z"])
DATA = st.binary(max_size=40)


class StoreMachine(RuleBasedStateMachine):
    """Subclasses open ``store`` and add rules that crash or restart it."""

    store: ObjectStore

    def __init__(self) -> None:
        super().__init__()
        self.model: dict[str, set[bytes | None]] = {}

    def allowed(self, key: str) -> set[bytes | None]:
        """What may lie under ``key``."""
        return self.model.setdefault(key, {None})

    def found(self, key: str) -> bytes | None:
        """What lies under ``key``, read in several ways, which must agree with each other and the model."""
        try:
            data = self.store.get(key)
        except ObjectNotFound:
            assert None in self.allowed(key)
            for use in (self.store.head, self.store.open):
                with pytest.raises(ObjectNotFound):
                    use(key)
            return None
        assert data in self.allowed(key)
        assert self.store.head(key).size_bytes == len(data)
        with self.store.open(key) as stream:
            assert stream.read() == data
        return data

    @rule(key=KEYS, data=DATA, streamed=st.booleans())
    def put(self, key: str, data: bytes, streamed: bool) -> None:
        self.store.put(key, io.BytesIO(data) if streamed else data)
        self.model[key] = {data}

    @rule(key=KEYS, data=DATA, streamed=st.booleans())
    def put_if_absent(self, key: str, data: bytes, streamed: bool) -> None:
        before = self.found(key)
        created = self.store.put_if_absent(key, io.BytesIO(data) if streamed else data)
        assert created == (before is None)
        self.model[key] = {data if created else before}

    @rule(source=KEYS, copy=KEYS)
    def copy_if_absent(self, source: str, copy: str) -> None:
        data, before = self.found(source), self.found(copy)
        if data is None:
            with pytest.raises(ObjectNotFound):
                self.store.copy_if_absent(source, copy)
            return
        assert self.store.copy_if_absent(source, copy) == (before is None)
        self.model[copy] = {data if before is None else before}

    @rule(key=KEYS)
    def delete(self, key: str) -> None:
        self.store.delete(key)
        self.model[key] = {None}

    @rule(key=KEYS)
    def read(self, key: str) -> None:
        self.found(key)

    @rule(key=KEYS, offset=st.integers(0, 50), length=st.none() | st.integers(0, 50))
    def read_range(self, key: str, offset: int, length: int | None) -> None:
        data = self.found(key)
        if data is not None:
            with self.store.open(key, offset, length) as stream:
                assert stream.read() == data[offset:][:length]

    @rule(prefix=PREFIXES, after=st.none() | KEYS)
    def list_prefix(self, prefix: str, after: str | None) -> None:
        in_one_folder = prefix == "blobs/c/"
        listed = {
            info.key: info.size_bytes for info in self.store.list(prefix, after if in_one_folder else None)
        }
        found = {key: self.found(key) for key in self.model}
        assert listed == {
            key: len(data)
            for key, data in found.items()
            if data is not None
            and key.startswith(prefix)
            and (not in_one_folder or after is None or key > after)
        }

    @rule()
    def apply_tiers(self) -> None:
        self.store.apply_tiers(self.tiers())

    def tiers(self) -> TierPolicy:
        """The policy that the backend can follow at once."""
        return TierPolicy()
