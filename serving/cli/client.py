"""The platform as the commands ask it: the project's own client and OpenAI's, and what they meet, in sentences."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self

import openai
from openai import AsyncOpenAI

from serving.cli.failures import NoAnswerInTime, NoServer, RequestRefused, UnusableInput
from serving.cli.inputs import opened
from serving.cli.plain import plain
from serving.cli.upload_progress import shown_upload
from serving.client import Manymodal, base_url_of, is_loopback

__all__ = ["Server", "base_url", "is_loopback", "usable_key"]

_KEY = re.compile(r"[!-~]{1,512}")

# `max_media_bytes` is 256 MiB unless set otherwise; a part may have 64.
_ONE_REQUEST_BYTES = 128 << 20
_PART_BYTES = 32 << 20

_NEXT_STEPS = {
    "invalid_api_key": "Give it as MANYMODAL_API_KEY or --api-key.",
    "insufficient_permissions": "`manymodal keys create --scope NAME` makes one that may.",
    "collection_not_found": "`manymodal collections ls` lists those there are; `manymodal index PATH` fills one.",
    "model_not_found": "`manymodal models` lists what is served.",
    "media_not_found": "`manymodal media ls` lists those there are.",
    "not_offered": "`manymodal models` lists what is served.",
}


def base_url(url: str) -> str:
    """``url`` without a trailing slash or ``/v1``, with ``http://`` when no scheme is given.

    Raises ``UnusableInput`` when it names no http(s) host.
    """
    try:
        return base_url_of(url)
    except ValueError as error:
        raise UnusableInput(str(error)) from None


def usable_key(given: str | None) -> str | None:
    """The key without the line end of the file it was read from. Raises ``UnusableInput`` for what is none."""
    key = given.strip() if given else None
    if key is not None and not _KEY.fullmatch(key):
        raise UnusableInput("The API key has characters that no key has.")
    return key


class Server:
    """A running platform. Use it as a context manager; every method raises ``ClientFailure``.

    ``api_key`` is sent with every request, where one is given. ``openai`` and ``api`` raise what OpenAI's client
    raises: call them inside ``with server.translating():``. Nothing is tried twice.
    """

    def __init__(self, url: str, api_key: str | None = None) -> None:
        self.url = base_url(url)
        # A proxy in the environment must not come between a client and its own machine.
        self._trust_environment = not is_loopback(self.url)
        self._api_key = usable_key(api_key)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if "openai" in self.__dict__:
            self.openai.close()

    @cached_property
    def openai(self) -> openai.OpenAI:
        """The official client, pointed here."""
        return openai.OpenAI(
            **self._options(), http_client=openai.DefaultHttpxClient(trust_env=self._trust_environment)
        )

    @cached_property
    def api(self) -> Manymodal:
        """What OpenAI's client has not."""
        return Manymodal(self.openai)

    def async_openai(self) -> AsyncOpenAI:
        """The official client for many requests at once. Close it where it is used."""
        return AsyncOpenAI(
            **self._options(), http_client=openai.DefaultAsyncHttpxClient(trust_env=self._trust_environment)
        )

    @contextlib.contextmanager
    def translating(self) -> Iterator[None]:
        """Turn errors of the clients into ``ClientFailure``."""
        try:
            yield
        except openai.APITimeoutError:
            raise NoAnswerInTime(
                f"The server at {self.url} did not answer in time; try again later."
            ) from None
        except openai.APIConnectionError as error:
            # The cause is of openai's own HTTP library, which changed its name between versions.
            unreachable = type(error.__cause__).__name__ in ("ConnectError", "ConnectTimeout")
            raise (self._nobody() if unreachable else self._broke()) from None
        except openai.APIStatusError as error:
            raise _refused(self.url, error.status_code, error.body) from None
        except openai.APIError as error:  # an error event in the middle of a stream
            raise RequestRefused(error.message) from None
        except UnicodeEncodeError:
            raise UnusableInput("What was given is no UTF-8 text; nothing of it was sent.") from None
        except Exception as error:
            # While a body is read, as of a download, that library's own errors come through.
            if type(error).__module__.partition(".")[0] in ("httpx", "httpx2"):
                raise self._broke() from None
            raise

    def upload(self, given: Path | str) -> dict[str, Any]:
        """Store a local file (``-``: standard input) and return its media object; ``["id"]`` can be used wherever a
        URL can. What is too large for one request goes in parts, and comes back as a file object when the platform
        keeps it without opening it.
        """
        with opened(given) as (name, file), self.translating():
            size_bytes = file.seek(0, os.SEEK_END)
            file.seek(0)
            with shown_upload(name, file, size_bytes) as shown:
                if size_bytes <= _ONE_REQUEST_BYTES:
                    return dict(plain(self.api.media.put((name, shown))))
                return self._uploaded_in_parts(name, shown, size_bytes)

    def _uploaded_in_parts(self, name: str, file: BinaryIO, size_bytes: int) -> dict[str, Any]:
        upload = self.openai.uploads.create(
            filename=name, bytes=size_bytes, mime_type="application/octet-stream", purpose="user_data"
        )
        try:
            parts = []
            while piece := file.read(_PART_BYTES):
                parts.append(self.openai.uploads.parts.create(upload.id, data=piece).id)
            whole = self.openai.uploads.complete(upload.id, part_ids=parts).file
        except BaseException:
            with contextlib.suppress(openai.APIError):  # what went wrong before is what is to be told
                self.openai.uploads.cancel(upload.id)
            raise
        if whole is None:
            raise RequestRefused(f"'{name}' was deleted while it was uploaded.")
        try:
            return dict(plain(self.api.media.get(whole.id)))
        except openai.BadRequestError:  # over max_media_bytes: kept as a file
            return dict(plain(whole))

    def add_documents(
        self, collection: str, documents: Sequence[Mapping[str, Any]], options: Mapping[str, Any]
    ) -> list[dict[str, Any]]:
        """Make media and texts searchable; what became of each, in order."""
        with self.translating():
            return list(plain(self.api.documents.add_batch(collection, documents, **options))["data"])

    def models(self) -> list[dict[str, Any]]:
        """What is served."""
        with self.translating():
            return [plain(model) for model in self.openai.models.list()]

    def _options(self) -> dict[str, Any]:
        return {"base_url": f"{self.url}/v1", "api_key": self._api_key or "none", "max_retries": 0}

    def _nobody(self) -> NoServer:
        return NoServer(
            f"No server answers at {self.url}: start one with `manymodal up`, or say where one is with --url."
        )

    def _broke(self) -> NoServer:
        return NoServer(f"The connection to {self.url} broke off; see whether the server is still running.")


def _refused(url: str, status: int, detail: Any) -> RequestRefused:
    """The server's own sentence, with the next step where there is one."""
    if not isinstance(detail, dict) or not isinstance(detail.get("message"), str):
        return RequestRefused(
            f"The server at {url} answered with status {status} and no reason; is it Manymodal?", status
        )
    step = _NEXT_STEPS.get(str(detail.get("code")))
    if step is None and status in (429, 503):
        step = "Try again in a moment."
    return RequestRefused(f"{detail['message']} {step}" if step else detail["message"], status)
