"""An HTTP proxy in front of an S3 server that answers errors, loses answers and cuts connections on demand."""

from __future__ import annotations

import http.client
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal, TypeAlias

from storage.config import S3Config

__all__ = ["Fault", "FaultProxy", "Request"]

_CUT_BYTES = 100_000
_SIGNATURE_HEADERS = {"authorization", "x-amz-date", "x-amz-content-sha256"}
_HOP_HEADERS = {"connection", "keep-alive", "transfer-encoding", "expect"}

Kind: TypeAlias = Literal[
    "answer error",  # the server never sees the request
    "lose answer",  # the server does as told, and the client never hears of it
    "cut answer",  # the connection breaks a while into the body
    "flip answer",  # one bit of the body is wrong
    "cut request",  # the connection breaks half way through the request's body
    "flip request",
    "strip condition",  # a server that does not know If-None-Match
]


@dataclass(frozen=True, slots=True)
class Request:
    """What a client asked for."""

    method: str
    path: str
    headers: Mapping[str, str]

    @property
    def is_copy(self) -> bool:
        """A CopyObject or UploadPartCopy."""
        return any(name.lower() == "x-amz-copy-source" for name in self.headers)

    @property
    def is_part(self) -> bool:
        """An UploadPart or UploadPartCopy."""
        return self.method == "PUT" and "partNumber=" in self.path

    @property
    def is_completion(self) -> bool:
        """A CompleteMultipartUpload."""
        return self.method == "POST" and "uploadId=" in self.path


@dataclass(slots=True)
class Fault:
    """What goes wrong with the next ``times`` requests that ``matches`` picks. ``before`` runs first."""

    kind: Kind
    matches: Callable[[Request], bool] = lambda request: True
    times: int = 1
    status: int = 503
    code: str = "SlowDown"
    before: Callable[[], object] = lambda: None


class FaultProxy:
    """A context manager; ``url`` is where clients of the server with ``config`` on loopback connect.
    ``requests`` are all that came, in order.
    """

    def __init__(self, server_port: int, config: S3Config) -> None:
        self.config = config
        self.requests: list[Request] = []
        self._faults: list[Fault] = []
        self._lock = threading.Lock()
        proxy = self

        class Handler(_Handler):
            upstream_port = server_port
            faults = proxy

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    @contextmanager
    def failing(self, *faults: Fault) -> Iterator[None]:
        """These faults, in this order, as long as the context lasts."""
        with self._lock:
            self._faults = list(faults)
        try:
            yield
        finally:
            with self._lock:
                self._faults = []

    def take(self, request: Request) -> Fault | None:
        """Note a request; what is to go wrong with it."""
        with self._lock:
            self.requests.append(request)
            for fault in self._faults:
                if fault.times > 0 and fault.matches(request):
                    fault.times -= 1
                    return fault
        return None

    def __enter__(self) -> FaultProxy:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(timeout=10)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    upstream_port: int
    faults: FaultProxy

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  (the base's name)
        """Quiet: ``requests`` tells all."""

    def _serve(self) -> None:
        request = Request(self.command, self.path, dict(self.headers.items()))
        fault = self.faults.take(request)
        if fault is not None:
            fault.before()
        kind = fault.kind if fault is not None else None
        length = int(self.headers.get("Content-Length") or 0)
        if kind == "cut request":
            self.rfile.read(length // 2)
            self.close_connection = True
            return
        body = self.rfile.read(length)
        if fault is not None and kind == "answer error":
            error = f"<Error><Code>{fault.code}</Code><Message>as told</Message></Error>".encode()
            self._answer(fault.status, {"Content-Type": "application/xml"}, error)
            return
        headers = {name: value for name, value in request.headers.items() if name.lower() not in _HOP_HEADERS}
        if kind == "strip condition":
            headers = self._signed_again(
                {name: value for name, value in headers.items() if name.lower() != "if-none-match"}, body
            )
        if kind == "flip request":
            body = _flipped(body)
        upstream = http.client.HTTPConnection("127.0.0.1", self.upstream_port, timeout=30)
        try:
            upstream.request(self.command, self.path, body or None, headers)
            answer = upstream.getresponse()
            found = answer.read()
            status, answered = answer.status, dict(answer.getheaders())
        except (OSError, http.client.HTTPException):
            self.close_connection = True
            return
        finally:
            upstream.close()
        if kind == "lose answer":
            self.close_connection = True
            return
        if kind == "flip answer":
            found = _flipped(found)
        self._answer(status, answered, found, cut=kind == "cut answer")

    def __getattr__(self, name: str) -> Any:
        if name.startswith("do_"):  # whatever the method
            return self._serve
        raise AttributeError(name)

    def _signed_again(self, headers: Mapping[str, str], body: bytes) -> dict[str, str]:
        """A signature covers the headers, so who takes one away must sign anew."""
        from botocore.auth import S3SigV4Auth
        from botocore.awsrequest import AWSRequest
        from botocore.credentials import Credentials

        config = self.faults.config
        kept = {name: value for name, value in headers.items() if name.lower() not in _SIGNATURE_HEADERS}
        url = f"http://{self.headers['Host']}{self.path}"
        request = AWSRequest(self.command, url, kept, body)
        credentials = Credentials(config.access_key_id, config.secret_access_key)
        S3SigV4Auth(credentials, "s3", config.region).add_auth(request)
        return dict(request.headers.items())

    def _answer(self, status: int, headers: Mapping[str, str], body: bytes, cut: bool = False) -> None:
        self.send_response_only(status)
        for name, value in headers.items():
            if name.lower() not in {*_HOP_HEADERS, "content-length"}:
                self.send_header(name, value)
        length = str(len(body))
        if self.command == "HEAD":
            length = next((value for name, value in headers.items() if name.lower() == "content-length"), "0")
            body = b""
        if status != 204:
            self.send_header("Content-Length", length)
        self.end_headers()
        try:
            self.wfile.write(body[:_CUT_BYTES] if cut else body)
        except OSError:  # the client has closed a stream that it did not read to its end
            self.close_connection = True
        if cut:
            self.close_connection = True


def _flipped(body: bytes) -> bytes:
    middle = len(body) // 2
    return body[:middle] + bytes([body[middle] ^ 1]) + body[middle + 1 :]
