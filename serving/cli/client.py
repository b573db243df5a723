"""Speaking HTTP to the platform: the official ``openai`` client where it serves, ``httpx`` elsewhere."""

from __future__ import annotations

import contextlib
import ipaddress
import json
import re
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

import httpx
import openai

from serving.cli.failures import NoServer, RequestRefused, UnusableInput
from serving.cli.inputs import opened

__all__ = ["Server", "base_url", "is_loopback"]

# Reading waits long: a half-hour recording is transcribed in one answer.
_TIMEOUT = httpx.Timeout(600.0, connect=5.0)

_PIECE_BYTES = 1 << 20

_KEY = re.compile(r"[!-~]{1,512}")

_NEXT_STEPS = {
    "invalid_api_key": "Give it as MANYMODAL_API_KEY or --api-key.",
    "insufficient_permissions": "`manymodal keys create --scope NAME` makes one that may.",
    "collection_not_found": "`manymodal collections` lists those there are; `manymodal index PATH` fills one.",
    "model_not_found": "`manymodal models` lists what is served.",
    "media_not_found": "`manymodal media` lists those there are.",
    "not_offered": "`manymodal models` lists what is served.",
}


def base_url(url: str) -> str:
    """``url`` without a trailing slash or ``/v1``, with ``http://`` when no scheme is given.

    Raises ``UnusableInput`` when it names no http(s) host.
    """
    full = url.strip() if "://" in url else f"http://{url.strip()}"
    try:
        parts = urlsplit(full)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # a port that is no number, half an IPv6 address
        usable = False
    if not usable:
        raise UnusableInput(f"'{url}' is not an address of a server; give one like http://127.0.0.1:8000.")
    return full.rstrip("/").removesuffix("/v1").rstrip("/")


class Server:
    """A running platform. Use it as a context manager; every method raises ``ClientFailure``.

    ``api_key`` is sent with every request, where one is given.
    """

    def __init__(self, url: str, api_key: str | None = None) -> None:
        self.url = base_url(url)
        # A proxy in the environment must not come between a client and its own machine.
        self._trust_environment = not is_loopback(self.url)
        self._api_key = api_key.strip() if api_key else None
        if self._api_key is not None and not _KEY.fullmatch(self._api_key):
            raise UnusableInput("The API key has characters that no key has.")
        headers = {} if self._api_key is None else {"authorization": f"Bearer {self._api_key}"}
        self._http = httpx.Client(
            base_url=self.url, headers=headers, timeout=_TIMEOUT, trust_env=self._trust_environment
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._http.close()
        if "openai" in self.__dict__:
            self.openai.close()

    @cached_property
    def openai(self) -> openai.OpenAI:
        """The official client, pointed here. Call it inside ``with server.translating():``."""
        return openai.OpenAI(
            base_url=f"{self.url}/v1",
            api_key=self._api_key or "none",
            max_retries=0,
            http_client=openai.DefaultHttpxClient(trust_env=self._trust_environment),
        )

    def async_openai(self) -> openai.AsyncOpenAI:
        """The same for many requests at once. Close it where it is used."""
        return openai.AsyncOpenAI(
            base_url=f"{self.url}/v1",
            api_key=self._api_key or "none",
            max_retries=0,
            http_client=openai.DefaultAsyncHttpxClient(trust_env=self._trust_environment),
        )

    @contextlib.contextmanager
    def translating(self) -> Iterator[None]:
        """Turn errors of the two HTTP libraries into ``ClientFailure``."""
        try:
            yield
        except (httpx.ConnectError, httpx.ConnectTimeout):
            raise self._nobody() from None
        except (httpx.TimeoutException, openai.APITimeoutError):
            raise NoServer(f"The server at {self.url} did not answer in time; try again later.") from None
        except openai.APIConnectionError as error:
            # The cause is of openai's own HTTP library, which changed its name between versions.
            unreachable = type(error.__cause__).__name__ == "ConnectError"
            raise (self._nobody() if unreachable else self._broke()) from None
        except httpx.TransportError:
            raise self._broke() from None
        except openai.APIStatusError as error:
            raise _refused(self.url, error.status_code, {"error": error.body}) from None
        except openai.APIError as error:  # an error event in the middle of a stream
            raise RequestRefused(error.message) from None

    def request(self, method: str, path: str, **options: Any) -> dict[str, Any]:
        """Send a request and return the JSON object it is answered with. ``options`` are httpx's."""
        with self.translating():
            answer = self._http.request(method, path, **options)
        body = _json_of(answer)
        if answer.is_success and isinstance(body, dict):
            return body
        raise _refused(self.url, answer.status_code, body)

    def upload(self, given: Path | str) -> dict[str, Any]:
        """Store a local file (``-``: standard input) and return its media object; ``["id"]`` can be used wherever a
        URL can.
        """
        with opened(given) as (name, file):
            return self.request("POST", "/v1/media", files={"file": (name, file)})

    @contextlib.contextmanager
    def pieces(self, path: str) -> Iterator[Iterator[bytes]]:
        """What ``path`` answers, piece by piece."""
        with self.translating(), self._http.stream("GET", path) as answer:
            if not answer.is_success:
                answer.read()
                raise _refused(self.url, answer.status_code, _json_of(answer))
            yield answer.iter_bytes(_PIECE_BYTES)

    def text(self, path: str) -> str:
        """What ``path`` answers, as text."""
        with self.translating():
            answer = self._http.get(path)
        if answer.is_success:
            return answer.text
        raise _refused(self.url, answer.status_code, _json_of(answer))

    def add_document(self, collection: str, document: Mapping[str, Any]) -> dict[str, Any]:
        """Make a medium or a text searchable."""
        return self.request("POST", f"/v1/collections/{collection}/documents", json=dict(document))

    def add_documents(
        self, collection: str, request: Mapping[str, Any], files: Mapping[str, tuple[str, Any]]
    ) -> list[dict[str, Any]]:
        """Make media and texts searchable; what became of each, in order. ``files`` are names and open files by the
        names under which the documents call them.
        """
        answer = self.request(
            "POST",
            f"/v1/collections/{collection}/documents/batch",
            **(
                {"data": {"request": json.dumps(request)}, "files": files}
                if files
                else {"json": dict(request)}
            ),
        )
        return list(answer["data"])

    def find(self, query: Mapping[str, Any]) -> dict[str, Any]:
        """The whole answer to a search."""
        return self.request("POST", "/v1/search", json=dict(query))

    def search(self, query: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Hits of a search, best first."""
        return list(self.find(query)["results"])

    def _nobody(self) -> NoServer:
        return NoServer(
            f"No server answers at {self.url}: start one with `manymodal up`, or say where one is with --url."
        )

    def _broke(self) -> NoServer:
        return NoServer(f"The connection to {self.url} broke off; see whether the server is still running.")


def _json_of(answer: httpx.Response) -> Any:
    with contextlib.suppress(ValueError):
        return answer.json()
    return None


def _refused(url: str, status: int, body: Any) -> RequestRefused:
    """The server's own sentence, with the next step where there is one."""
    detail = body.get("error") if isinstance(body, dict) else None
    if not isinstance(detail, dict) or not isinstance(detail.get("message"), str):
        return RequestRefused(
            f"The server at {url} answered with status {status} and no reason; is it Manymodal?", status
        )
    step = _NEXT_STEPS.get(str(detail.get("code")))
    if step is None and status in (429, 503):
        step = "Try again in a moment."
    return RequestRefused(f"{detail['message']} {step}" if step else detail["message"], status)


def is_loopback(url: str) -> bool:
    """Whether a URL is of this machine."""
    host = urlsplit(url).hostname or ""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
