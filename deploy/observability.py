"""What a replica tells of itself, begun before it loads anything: its log, its traces, its metrics."""

from __future__ import annotations

import os
import socket
import sys
from dataclasses import dataclass, field

from prometheus_client import REGISTRY, CollectorRegistry

from deploy.observability_settings import TracingSettings
from serving import request_log, tracing
from serving.machine_metrics import MachineMetrics
from serving.ray_adapter.metrics_export import MetricsExport

__all__ = ["Observability", "export_counts", "export_metrics"]

_QUEUED_SPANS = 4096  # more are dropped: tracing must never hold up an answer
_SEND_SECONDS = 1.0

_export: MetricsExport | None = None  # of this process, which is a replica


@dataclass(frozen=True, slots=True)
class Observability:
    """The same for every deployment. ``export_seconds``: how often metrics are copied into Ray's, if at all."""

    log_level: str
    tracing: TracingSettings = field(default_factory=TracingSettings)
    export_seconds: float | None = None

    def begin(self, deployment: str) -> None:
        """Begin in this process, a replica of ``deployment``."""
        global _export
        # Not to what Ray Serve has put in its place, which writes words of its own before every line.
        request_log.configure(self.log_level, deployment, sys.__stderr__)
        replica = _replica()
        if self.tracing.address is not None:
            _trace(self.tracing, self.tracing.address, deployment, replica)
        if self.export_seconds is not None:
            _export = MetricsExport(deployment, replica, self.export_seconds)
            _export.add(REGISTRY)  # vLLM's, and the process's own
            if deployment != "gateway":  # whose metrics hold these
                machine = CollectorRegistry()
                machine.register(MachineMetrics())
                _export.add(machine)
            _export.start()


def export_metrics(registry: CollectorRegistry) -> None:
    """Offer what this registry counts, if this process offers metrics at all."""
    if _export is not None:
        _export.add(registry)


def export_counts(deployed: object) -> None:
    """Offer what a deployment's object counts, where it does (its attribute ``counts``)."""
    counts = getattr(deployed, "counts", None)
    if isinstance(counts, CollectorRegistry):
        export_metrics(counts)


def _replica() -> str:
    """A name no other replica has."""
    from ray import serve
    from ray.serve.exceptions import RayServeException

    try:
        return str(serve.get_replica_context().replica_id.unique_id)
    except RayServeException:
        return f"{socket.gethostname()}-{os.getpid()}"


def _trace(config: TracingSettings, address: str, deployment: str, replica: str) -> None:
    # Not process-wide: vLLM makes a provider of its own and wants to be the only one.
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor
    from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased

    named = {
        "service.namespace": "manymodal",
        "service.name": f"manymodal-{deployment}",
        "service.instance.id": replica,
    }
    provider = TracerProvider(
        sampler=ParentBased(TraceIdRatioBased(config.sampling_ratio)), resource=Resource.create(named)
    )
    exporter = OTLPSpanExporter(
        endpoint=address,
        headers={name: value.get_secret_value() for name, value in config.headers.items()},
        timeout=config.timeout_seconds,
    )
    provider.add_span_processor(
        BatchSpanProcessor(exporter, max_queue_size=_QUEUED_SPANS, schedule_delay_millis=_SEND_SECONDS * 1000)
    )
    # vLLM makes its exporter from these. Not part of what Ray is told of a replica, which Ray writes to its logs.
    os.environ |= {
        "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "http/protobuf",
        "OTEL_EXPORTER_OTLP_TRACES_TIMEOUT": str(config.timeout_seconds),
        "OTEL_EXPORTER_OTLP_TRACES_HEADERS": config.header_line(),
        "OTEL_SERVICE_NAME": "manymodal-vllm",
    }
    tracing.turn_on(provider.get_tracer("manymodal"))
