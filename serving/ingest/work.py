"""What jobs do, by kind: ``ingest`` a list, or ``reembed`` a collection."""

from __future__ import annotations

from serving.ingest.checkpoint import Checkpoint
from serving.ingest.config import IngestConfig
from serving.ingest.ingester import Ingester
from serving.ingest.jobs import Job, JobState, JobStore
from serving.ingest.listing import items_of
from serving.ingest.progress import Progress
from serving.ingest.reembedding import Reembedding
from serving.services import SearchIndex

__all__ = ["JobWork"]


class JobWork:
    """Does jobs; who runs them, and when, is the runner's business."""

    def __init__(self, ingester: Ingester, store: JobStore, search: SearchIndex) -> None:
        self._ingester = ingester
        self._store = store
        self._search = search

    @property
    def config(self) -> IngestConfig:
        """Settings of ingest."""
        return self._ingester.config

    async def run(self, job: Job, state: JobState, progress: Progress, checkpoint: Checkpoint) -> None:
        """Do what is left of a job. Raises ``ServiceTrouble``."""
        if job.kind == "reembed":
            await Reembedding(job, self._ingester, self._search, progress, checkpoint).run(state.after)
            return
        items = items_of(self._store.items(job), progress)
        await self._ingester.run(
            job.tenant, job.collection, items, job.options, checkpoint, repeated=state.attempts > 1
        )
