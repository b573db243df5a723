"""An OpenTelemetry collector in this process: takes OTLP over HTTP and keeps the spans."""

from __future__ import annotations

import gzip
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

__all__ = ["Collector", "KeptSpan", "collecting"]


@dataclass(frozen=True)
class KeptSpan:
    """What a collector is told of a span; ids in hex, no parent: an empty one."""

    service: str
    name: str
    trace: str
    span: str
    parent: str
    attributes: dict[str, Any]
    failed: bool
    events: tuple[str, ...]
    whole: str


class Collector:
    """Where it listens and what it was sent."""

    def __init__(self, endpoint: str) -> None:
        self.endpoint = endpoint
        self.spans: list[KeptSpan] = []
        self.headers: list[dict[str, str]] = []

    def wait(self, there: Callable[[list[KeptSpan]], bool], seconds: float = 60) -> list[KeptSpan]:
        """All spans, once ``there`` says that those waited for are among them."""
        deadline = time.monotonic() + seconds
        while not there(list(self.spans)):
            names = sorted({f"{span.service}: {span.name}" for span in self.spans})
            assert time.monotonic() < deadline, f"spans that came: {names}"
            time.sleep(0.1)
        return list(self.spans)

    def keep(self, request: ExportTraceServiceRequest) -> None:
        """Take note of all spans of one delivery."""
        for resource in request.resource_spans:
            facts = {item.key: item.value.string_value for item in resource.resource.attributes}
            for scope in resource.scope_spans:
                for span in scope.spans:
                    self.spans.append(
                        KeptSpan(
                            facts["service.name"],
                            span.name,
                            span.trace_id.hex(),
                            span.span_id.hex(),
                            span.parent_span_id.hex(),
                            {item.key: _value(item.value) for item in span.attributes},
                            span.status.code == span.status.STATUS_CODE_ERROR,
                            tuple(event.name for event in span.events),
                            str(span),
                        )
                    )


def _value(value: Any) -> Any:
    kind = value.WhichOneof("value")
    return getattr(value, kind) if kind else None


@contextmanager
def collecting(host: str = "127.0.0.1") -> Iterator[Collector]:
    """A collector on a free port."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            assert self.path == "/v1/traces"
            body = self.rfile.read(int(self.headers["content-length"]))
            if self.headers.get("content-encoding") == "gzip":
                body = gzip.decompress(body)
            request = ExportTraceServiceRequest()
            request.ParseFromString(body)
            collector.headers.append({name.lower(): value for name, value in self.headers.items()})
            collector.keep(request)
            answer = ExportTraceServiceResponse().SerializeToString()
            self.send_response(200)
            self.send_header("content-type", "application/x-protobuf")
            self.send_header("content-length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer((host, 0), Handler)
    server.daemon_threads = True
    collector = Collector(f"http://{host}:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever, name="otlp-collector")
    thread.start()
    try:
        yield collector
    finally:
        server.shutdown()
        server.server_close()
        thread.join(10)
