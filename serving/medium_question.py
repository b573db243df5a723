"""A question about one medium: an ordinary chat of one message, for routes with a form of their own."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from starlette.datastructures import UploadFile

from encoders.types import MediaKind
from serving.admission import Admission, AdmittedMedia
from serving.chat import ChatPipeline, PreparedChat
from serving.errors import InvalidRequest
from serving.perceive_options import PerceiveOptions
from serving.protocol.chat import ChatRequest
from serving.protocol.parse import validated
from serving.protocol.understanding import MediumQuestion

__all__ = ["MediumSource", "as_asked", "medium_source", "prepare_question"]

_ANSWERING = ("max_tokens", "temperature", "seed")


@dataclass(frozen=True, slots=True)
class MediumSource:
    """Where a request's medium comes from (see ``Admission.use``), and the field that says so."""

    bring: Callable[[bool], Awaitable[AdmittedMedia]]
    param: str


def medium_source(
    admission: Admission,
    tenant: str,
    kinds: frozenset[MediaKind],
    *,
    file: tuple[str, UploadFile | None],
    url: tuple[str, str | None],
    file_id: str | None,
) -> MediumSource:
    """The one of three ways that a request has taken; ``file`` and ``url`` with their fields' names."""
    (file_field, upload), (url_field, reference) = file, url
    if (upload is not None) + (reference is not None) + (file_id is not None) != 1:
        missing = upload is None and reference is None and file_id is None
        raise InvalidRequest(
            f"Send exactly one of '{file_field}' (in a form), '{url_field}' and 'file_id'.",
            url_field,
            "missing_required_parameter" if missing else None,
        )
    if upload is not None:
        opened = upload
        return MediumSource(
            lambda anew: admission.from_file(
                tenant, opened.file, opened.filename, kinds, file_field, anew=anew
            ),
            file_field,
        )
    if reference is not None:
        return MediumSource(
            lambda anew: admission.from_reference(tenant, reference, kinds, url_field, anew=anew), url_field
        )
    return MediumSource(lambda _: admission.from_id(tenant, file_id or "", kinds, "file_id"), "file_id")


async def prepare_question(
    chat: ChatPipeline,
    tenant: str,
    admitted: AdmittedMedia,
    param: str,
    question: MediumQuestion,
    prompt: str,
    options: PerceiveOptions,
) -> PreparedChat:
    """The chat that shows an admitted sound or video and asks ``prompt``. The medium comes first, so that further
    questions about it begin alike. Refusals name ``param`` and ``prompt``, not the messages made here.
    """
    kind = "video_url" if admitted.info.kind is MediaKind.VIDEO else "audio_url"
    medium = {"type": kind, kind: {"url": admitted.record.ref.id}}
    raw: dict[str, Any] = {
        "model": question.model,
        "messages": [{"role": "user", "content": [medium, {"type": "text", "text": prompt}]}],
        "stream": question.stream,
    }
    raw |= {name: value for name in _ANSWERING if (value := getattr(question, name)) is not None}
    if question.stream:
        raw["stream_options"] = {"include_usage": True}
    with as_asked(param):
        return await chat.prepare(tenant, raw, validated(ChatRequest, raw), options)


@contextmanager
def as_asked(param: str) -> Iterator[None]:
    """Let refusals of the chat made here, the engine's too, name the fields of the request that came: ``param``,
    where its medium is, and ``prompt``.
    """
    try:
        yield
    except InvalidRequest as error:
        theirs = error.param or ""
        if not theirs.startswith("messages"):
            raise
        of_text = theirs.startswith("messages[0].content[1]") or error.code == "context_length_exceeded"
        ours = "prompt" if of_text else param
        raise type(error)(error.message.replace(f"'{theirs}'", f"'{ours}'"), ours, error.code) from error
