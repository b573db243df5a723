"""The media store against a dictionary: crashes, garbage collection and time as steps."""

from __future__ import annotations

import io
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from fake_object_store import Crash, FakeStoreWithHooks, at_step
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from media_uploads import keys

from storage.artifacts import ArtifactStore
from storage.errors import CorruptObject, MediaNotFound, StoreUnavailable
from storage.garbage import GarbageCollector
from storage.local import LocalObjectStore
from storage.media import MediaStore
from storage.objects import Body, ObjectStore
from storage.records import id_time_seconds
from storage.types import INLINE, MediaRecord, MediaRef, ObjectInfo
from storage.uploads import UploadStore
from storage.verify import verify_store

GRACE_SECONDS = 1000.0
TENANTS = ("acme", "other")
CONTENTS = st.sampled_from([b"", b"one", b"two", b"three"])
STEPS = st.integers(0, 40)


@dataclass(frozen=True)
class Known:
    """What the model knows of an id."""

    record: MediaRecord
    data: bytes


class FakeStoreOfTheFuture(LocalObjectStore):
    """A local store whose objects' times follow a clock that the test moves on."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.ahead_seconds = 0.0
        self._ahead: dict[str, float] = {}

    def put(self, key: str, data: Body) -> None:
        super().put(key, data)
        self._ahead[key] = self.ahead_seconds

    def put_if_absent(self, key: str, data: Body) -> bool:
        created = super().put_if_absent(key, data)
        if created:
            self._ahead[key] = self.ahead_seconds
        return created

    def copy_if_absent(self, source: str, target: str) -> bool:
        created = super().copy_if_absent(source, target)
        if created:  # two names of one file
            self._ahead[source] = self._ahead[target] = self.ahead_seconds
        return created

    def head(self, key: str) -> ObjectInfo:
        return self._moved(super().head(key))

    def list(self, prefix: str, after: str | None = None) -> Iterator[ObjectInfo]:
        return map(self._moved, super().list(prefix, after))

    def _moved(self, info: ObjectInfo) -> ObjectInfo:
        return replace(info, modified_at_seconds=info.modified_at_seconds + self._ahead[info.key])


class MediaMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.root = Path(tempfile.mkdtemp(prefix="media-machine-"))
        self.store = FakeStoreOfTheFuture(self.root)
        self.media = self.opened(self.store)
        self.model: dict[str, Known] = {}
        self.received: dict[str, tuple[MediaRef, bytes]] = {}
        self.derived: set[tuple[str, str]] = set()

    def clock(self) -> float:
        return time.time() + self.store.ahead_seconds

    def opened(self, store: ObjectStore) -> MediaStore:
        return MediaStore(store, clock=self.clock, grace_seconds=GRACE_SECONDS)

    def dying(self, step: int, act: Callable[[ObjectStore], object]) -> None:
        """Run ``act`` in a process that dies at a step, or lives if it has fewer."""

        def die() -> None:
            raise Crash

        with suppress(Crash):
            act(FakeStoreWithHooks(self.store, at_step(step, die)[0]))

    def live(self) -> dict[str, Known]:
        now = self.clock()
        return {
            media_id: known
            for media_id, known in self.model.items()
            if known.record.expires_at_seconds is None or known.record.expires_at_seconds > now
        }

    @rule(tenant=st.sampled_from(TENANTS), data=CONTENTS, lifetime=st.sampled_from([None, 500, 5000]))
    def upload(self, tenant: str, data: bytes, lifetime: int | None) -> None:
        inline = lifetime == 500
        ref = self.media.receive(tenant, io.BytesIO(data), "x/y", 100, inline=inline)
        self.commit(ref, data, INLINE if inline else "user_data", lifetime)

    def commit(self, ref: MediaRef, data: bytes, purpose: str, lifetime: int | None) -> None:
        expires = None if lifetime is None else int(self.clock()) + lifetime
        record = self.media.commit(ref, filename="x", purpose=purpose, expires_at_seconds=expires)
        self.model[ref.id] = Known(record, data)

    @rule(tenant=st.sampled_from(TENANTS), data=CONTENTS)
    def receive(self, tenant: str, data: bytes) -> None:
        ref = self.media.receive(tenant, io.BytesIO(data), "x/y", 100)
        self.received[ref.id] = (ref, data)

    @precondition(lambda self: self.received)
    @rule(choice=st.randoms(use_true_random=False))
    def commit_received(self, choice) -> None:
        ref, data = self.received.pop(choice.choice(sorted(self.received)))
        is_old = self.clock() - id_time_seconds(ref.id) > GRACE_SECONDS
        try:
            self.commit(ref, data, "user_data", None)
        except StoreUnavailable:
            assert is_old  # and then nothing of it is there
            with pytest.raises(MediaNotFound):
                self.media.get(ref.tenant, ref.id)

    @precondition(lambda self: self.received)
    @rule(choice=st.randoms(use_true_random=False))
    def abandon(self, choice) -> None:
        self.media.abandon(self.received.pop(choice.choice(sorted(self.received)))[0])

    @rule(tenant=st.sampled_from(TENANTS), data=CONTENTS, step=STEPS)
    def upload_and_die(self, tenant: str, data: bytes, step: int) -> None:
        def act(store: ObjectStore) -> None:
            media = self.opened(store)
            ref = media.receive(tenant, io.BytesIO(data), "x/y", 100)
            media.commit(ref, filename="x")

        self.dying(step, act)
        # Nobody was told the id; if it is there all the same it is whole.
        for record in self.media.list(tenant):
            if record.ref.id not in self.model:
                self.model[record.ref.id] = Known(record, data)

    @precondition(lambda self: self.model)
    @rule(choice=st.randoms(use_true_random=False), step=st.one_of(st.none(), STEPS))
    def delete(self, choice, step: int | None) -> None:
        media_id = choice.choice(sorted(self.model))
        ref = self.model[media_id].record.ref
        self.derived.discard((ref.tenant, ref.sha256))
        if step is None:
            assert self.media.delete(ref.tenant, media_id).record == self.model.pop(media_id).record
            return
        self.dying(step, lambda store: self.opened(store).delete(ref.tenant, media_id))
        if f"files/{ref.tenant}/{media_id}.json" not in keys(self.store, f"files/{ref.tenant}/"):
            del self.model[media_id]

    @precondition(lambda self: self.live())
    @rule(choice=st.randoms(use_true_random=False), seconds=st.sampled_from([None, 2000]))
    def extend(self, choice, seconds: int | None) -> None:
        media_id = choice.choice(sorted(self.live()))
        known = self.model[media_id]
        expires = None
        if seconds is not None and known.record.expires_at_seconds is not None:
            expires = int(self.clock()) + seconds
        extended = self.media.extend(known.record, expires)
        assert extended == replace(known.record, expires_at_seconds=expires)
        self.model[media_id] = replace(known, record=extended)

    @precondition(lambda self: self.live())
    @rule(choice=st.randoms(use_true_random=False), step=st.one_of(st.none(), STEPS))
    def derive(self, choice, step: int | None) -> None:
        ref = self.model[choice.choice(sorted(self.live()))].record.ref
        if step is None:
            ArtifactStore(self.store).put(ref.tenant, ref.sha256, "ab" * 32, ref.sha256.encode())
            self.derived.add((ref.tenant, ref.sha256))
        else:
            self.dying(
                step,
                lambda store: ArtifactStore(store).put(
                    ref.tenant, ref.sha256, "ab" * 32, ref.sha256.encode()
                ),
            )

    @precondition(lambda self: self.live())
    @rule(choice=st.randoms(use_true_random=False))
    def damage_and_upload_again(self, choice) -> None:
        known = self.model[choice.choice(sorted(self.live()))]
        ref = known.record.ref
        if ref.blob_key not in keys(self.store, "blobs/") or keys(self.store, "trash/"):
            return
        self.store.put(ref.blob_key, known.data + b"!")
        with pytest.raises(CorruptObject):
            self.media.read(ref)
        self.upload(ref.tenant, known.data, None)

    @rule(seconds=st.sampled_from([1, 300, 1500, 6000]))
    def wait(self, seconds: int) -> None:
        self.store.ahead_seconds += seconds

    @rule()
    def recover(self) -> None:
        self.media.blobs.recover()

    @rule(step=st.one_of(st.none(), st.integers(0, 150)))
    def collect(self, step: int | None) -> None:
        def act(store: ObjectStore) -> None:
            media = self.opened(store)
            uploads = UploadStore(store, media, self.clock)
            GarbageCollector(store, media, uploads, self.clock, GRACE_SECONDS).collect()

        if step is None:
            act(self.store)
        else:
            self.dying(step, act)

    @rule()
    def expire(self) -> None:
        for record in list(self.media.expired()):
            assert record.ref.id not in self.live()
            self.media.delete(record.ref.tenant, record.ref.id)
            self.derived.discard((record.ref.tenant, record.ref.sha256))
            del self.model[record.ref.id]
        assert self.live() == self.model

    @rule(repair=st.booleans())
    def verify(self, repair: bool) -> None:
        report = verify_store(self.store, self.media, repair=repair)
        left = [finding for finding in report.findings if not finding.repaired]
        # What crashes leave is garbage once it is old; nothing is ever lost.
        assert not [f for f in left if f.kind in ("lost medium", "damaged blob", "damaged record")]
        if repair:
            assert report.clean
            assert verify_store(self.store, self.media, repair=False).clean

    @invariant()
    def everything_live_is_listed_and_readable(self) -> None:
        live = self.live()
        for tenant in TENANTS:
            wanted = sorted(i for i, known in live.items() if known.record.ref.tenant == tenant)
            listed = self.media.list(tenant) + self.media.list(tenant, purpose=INLINE)
            assert sorted(record.ref.id for record in listed) == wanted
        for media_id, known in live.items():
            ref = known.record.ref
            assert self.media.get(ref.tenant, media_id) == known.record
            assert self.media.read(ref) == known.data
            assert b"".join(self.media.stream(ref, 1)) == known.data[1:]
            found = self.media.find_by_content(ref.tenant, ref.sha256, known.record.purpose)
            assert found is None or found.ref.sha256 == ref.sha256
        for media_id in self.model.keys() - live.keys():
            with pytest.raises(MediaNotFound):
                self.media.get(self.model[media_id].record.ref.tenant, media_id)
        needed = {(known.record.ref.tenant, known.record.ref.sha256) for known in live.values()}
        for tenant, sha256 in self.derived & needed:
            assert ArtifactStore(self.store).get(tenant, sha256, "ab" * 32) == sha256.encode()

    def teardown(self) -> None:
        for media_id, known in self.model.items():
            self.media.delete(known.record.ref.tenant, media_id)
        self.store.ahead_seconds += 1e6
        for _ in range(2):
            self.collect(None)
        assert keys(self.store) == []
        shutil.rmtree(self.root)


MediaMachine.TestCase.settings = settings(max_examples=40, stateful_step_count=25, deadline=None)
TestMediaMachine = MediaMachine.TestCase
