"""Which gateway runs a job: a lease in the object store that expires unless it is renewed.

A lease is an object ``ingest-leases/<tenant>/<job>/<epoch>`` that says who holds it and until when (batches have a
folder of their own). Whoever wants the job looks at the highest epoch; if that has expired, or was given back, it
writes the next one by ``put_if_absent``, which exactly one of several succeeds in. The holder renews by writing its
own epoch again, and has lost the job as soon as a higher one is there.

What this does not promise: a gateway that was stopped for longer than its lease (a paused machine), or whose clock
is off by that much, may go on for a moment beside its successor. That is harmless for ingest: both write the same
documents under the same ids, and of two checkpoints the later one stands; what it does not know of is done again.
Batches have a log that only one of two can go on with (``serving.batches.store``).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, Protocol

from typing_extensions import TypeVar

from serving.ingest.jobs import Job
from storage.checked_json import from_checked_json, to_checked_json
from storage.errors import ObjectNotFound
from storage.objects import ObjectStore

__all__ = ["Lease", "Leased", "Leases", "Work"]

_DIGITS = 12


class Leased(Protocol):
    """What one gateway at a time works on."""

    @property
    def tenant(self) -> str:
        """Whose it is."""
        ...

    @property
    def id(self) -> str:
        """Its name, which nothing else of the tenant has."""
        ...


Work = TypeVar("Work", bound=Leased, default=Job)


@dataclass(frozen=True, slots=True)
class Lease(Generic[Work]):
    """A job held by this gateway. ``epoch`` counts holders."""

    job: Work
    epoch: int


class Leases(Generic[Work]):
    """Leases of one gateway, which calls itself ``owner``, in a folder of the store. Everything blocks.

    They last ``seconds`` from the last renewal on.
    """

    def __init__(
        self,
        objects: ObjectStore,
        owner: str,
        lease_seconds: float,
        clock: Callable[[], float] = time.time,
        folder: str = "ingest-leases",
    ) -> None:
        self._objects = objects
        self._folder = folder
        self._owner = owner
        self.seconds = lease_seconds
        self._clock = clock

    def acquire(self, job: Work) -> Lease[Work] | None:
        """The job, or ``None`` when another gateway holds it."""
        epoch = self._newest(job)
        if epoch is not None and self._expires_at(job, epoch) > self._clock():
            return None
        lease = Lease(job, 1 if epoch is None else epoch + 1)
        key = self._key(job, lease.epoch)
        if not self._objects.put_if_absent(key, self._encoded(key, self._clock() + self.seconds)):
            return None
        for old in self._epochs(job):
            # The one before stays: who lists just now may see neither a new object nor one that goes meanwhile,
            # and would begin again at the first epoch.
            if old < lease.epoch - 1:
                self._objects.delete(self._key(job, old))
        return lease

    def renew(self, lease: Lease[Work]) -> bool:
        """Hold it for longer; ``False`` when somebody else has it now."""
        if self._newest(lease.job) != lease.epoch:
            return False
        key = self._key(lease.job, lease.epoch)
        self._objects.put(key, self._encoded(key, self._clock() + self.seconds))
        return True

    def release(self, lease: Lease[Work]) -> None:
        """Give it back, so that nobody waits for its end."""
        if self._newest(lease.job) == lease.epoch:
            key = self._key(lease.job, lease.epoch)
            self._objects.put(key, self._encoded(key, 0.0))

    def is_held(self, job: Work) -> bool:
        """Whether some gateway holds it."""
        epoch = self._newest(job)
        return epoch is not None and self._expires_at(job, epoch) > self._clock()

    def _epochs(self, job: Work) -> list[int]:
        prefix = self._prefix(job)
        return sorted(int(info.key.removeprefix(prefix)) for info in self._objects.list(prefix))

    def _newest(self, job: Work) -> int | None:
        epochs = self._epochs(job)
        return epochs[-1] if epochs else None

    def _expires_at(self, job: Work, epoch: int) -> float:
        key = self._key(job, epoch)
        try:
            fields = from_checked_json(key, self._objects.get(key))
        except ObjectNotFound:
            return 0.0
        # A damaged one is worth as much as an expired one: two runs do no harm.
        return float(fields["expires_at_seconds"]) if fields is not None else 0.0

    def _encoded(self, key: str, expires_at_seconds: float) -> bytes:
        return to_checked_json(key, {"owner": self._owner, "expires_at_seconds": expires_at_seconds})

    def _prefix(self, job: Work) -> str:
        return f"{self._folder}/{job.tenant}/{job.id}/"

    def _key(self, job: Work, epoch: int) -> str:
        return f"{self._prefix(job)}{epoch:0{_DIGITS}d}"
