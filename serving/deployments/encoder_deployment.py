"""What all deployments of encoders have in common, and what those that open media have besides.

Each kind of encoder has a class of its own. A class that inherits from several is one deployment of these kinds: it
loads the models of all, a model that two kinds share once, and has one reader and one decoder.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Any, Protocol, TypeVar

from prometheus_client import CollectorRegistry, generate_latest

from encoders import registry
from encoders.batching.batch_metrics import BatchMetrics
from encoders.batching.micro_batcher import BatchObserver
from encoders.batching.queue_time import QUEUE_SECONDS, Waiting, longest_wait
from encoders.config import EncoderConfig
from encoders.decoding.sandbox import MediaDecoder
from encoders.memory_budget import available_bytes, check_memory
from encoders.types import ModelSpec
from serving.deployments.media_reader import MediaReader
from storage.backends import open_object_store
from storage.config import StorageConfig

__all__ = ["EncoderDeployment", "Loaded", "MediaDeployment"]


class _Worker(Waiting, Protocol):
    """A queue with a model's thread behind it."""

    async def aclose(self) -> None:
        """Stop."""


Worker = TypeVar("Worker", bound=_Worker)


@dataclass(frozen=True, slots=True)
class Loaded:
    """What a replica has loaded, by the models' names; ``specs`` are also of those that take turns in memory, and
    ``observer`` gives what counts the batches of a kind.
    """

    config: EncoderConfig
    specs: dict[str, ModelSpec]
    models: dict[str, Any]
    observer: Callable[[str], BatchObserver]


class EncoderDeployment:
    """Loads the models it needs and no others. Loading is done when the constructor returns.

    Raises ``ModelUnavailable`` for models that are not prepared, that changed or that do not fit into memory.
    """

    def __init__(self, config: EncoderConfig, storage: StorageConfig) -> None:
        names = dict.fromkeys(self._loaded_at_start(config))  # one that serves twice is loaded once
        specs = {name: registry.find(name, config.models_dir) for name in names}
        every = [*specs.values(), *(_prepared(name, config) for name in self._loaded_on_use(config))]
        in_turns = {name: _prepared(name, config) for name in self._taking_turns(config)}
        registry.check_revisions((*every, *in_turns.values()), config.revisions)
        # Together they take what is set for all.
        every += [
            replace(spec, name="text_variants", memory_bytes=config.variant_memory_bytes)
            for spec in tuple(in_turns.values())[:1]
        ]
        budget_bytes = config.max_memory_bytes
        check_memory(every, available_bytes() if budget_bytes is None else budget_bytes)
        self.counts = CollectorRegistry()
        self._workers: list[_Worker] = []
        with ExitStack() as undone:
            self._open(config, storage, undone)
            # Loading them in parallel threads was measured: 3.5-3.9 s instead of 4.0 s, so it is not done.
            models = {name: registry.load(name, config) for name in specs}
            self._begin(Loaded(config, specs | in_turns, models, BatchMetrics(self.counts).observer))
            undone.pop_all()

    def record_autoscaling_stats(self) -> dict[str, float]:
        """What Ray Serve asks for twice a second where replicas are scaled by how long their queues wait."""
        return {QUEUE_SECONDS: longest_wait(self._workers)}

    async def metrics(self) -> bytes:
        """See ``Perception.metrics``."""
        return generate_latest(self.counts)

    async def ready(self) -> bool:
        """The constructor has loaded and warmed everything."""
        return True

    async def aclose(self) -> None:
        """Stop the queues."""
        for worker in self._workers:
            await worker.aclose()

    def _loaded_at_start(self, config: EncoderConfig) -> Sequence[str]:
        """Names of models. Each kind adds its own to those of the others."""
        return ()

    def _loaded_on_use(self, config: EncoderConfig) -> Sequence[str]:
        """Names of models that are loaded when they are first asked, but must be prepared."""
        return ()

    def _taking_turns(self, config: EncoderConfig) -> Sequence[str]:
        """Names of models that share ``config.variant_memory_bytes``, and must be prepared."""
        return ()

    def _open(self, config: EncoderConfig, storage: StorageConfig, undone: ExitStack) -> None:
        """What is begun before models load; ``undone`` is closed when one does not load."""

    def _begin(self, loaded: Loaded) -> None:
        """Put queues before the models."""

    def _worker(self, worker: Worker) -> Worker:
        """The same, to be stopped at the end, and its queue's wait reported."""
        self._workers.append(worker)
        return worker


class MediaDeployment(EncoderDeployment):
    """Opens stored media and decodes them in processes of its own, which start while the models load."""

    def _open(self, config: EncoderConfig, storage: StorageConfig, undone: ExitStack) -> None:
        super()._open(config, storage, undone)
        self._reader = MediaReader(open_object_store(storage), storage.spool_folder)
        self._decoder = MediaDecoder(config.limits, workers=config.decoder_processes)
        undone.callback(self._decoder.close)
        self._decoder.start()

    async def aclose(self) -> None:
        """Stop the decoder processes and the queues."""
        await self._decoder.aclose()
        await super().aclose()


def _prepared(name: str, config: EncoderConfig) -> ModelSpec:
    """Raises ``ModelUnavailable`` for a model that is not prepared: at the start, not at the first question."""
    spec = registry.find(name, config.models_dir)
    registry.find_directory(spec, config.models_dir)
    return spec
