"""Reading request bodies: JSON objects and multipart forms, each with its errors in OpenAI's shape."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from tempfile import SpooledTemporaryFile
from typing import Any, BinaryIO, TypeVar, cast

from pydantic import BaseModel
from python_multipart.multipart import parse_options_header
from starlette.datastructures import FormData, Headers, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect, Request

from serving.errors import ClientGone, InvalidRequest, UnsupportedContentType
from serving.gateway import gateway_of
from serving.openapi import REFERENCE, reference
from serving.protocol.parse import MAX_VALUES, decode_json, validated
from storage.errors import StoreUnavailable

__all__ = [
    "is_form",
    "json_schema",
    "model_of",
    "open_form",
    "read_either",
    "read_json",
    "read_model",
    "uploaded_file",
]

Model = TypeVar("Model", bound=BaseModel)

_LARGE_BYTES = 128 << 10
_MAX_FILENAME_CHARACTERS = 255

_log = logging.getLogger("manymodal.gateway")


async def read_json(request: Request, max_values: int = MAX_VALUES) -> dict[str, Any]:
    """The body as a JSON object. Only ``application/json`` is read: a web page of another origin cannot send
    that.
    """
    content_type = request.headers.get("content-type", "").split(";", 1)[0].strip().lower()
    if content_type != "application/json":
        raise UnsupportedContentType(
            "This endpoint reads JSON: send the header 'Content-Type: application/json'."
        )
    body = await _body(request)
    if len(body) < _LARGE_BYTES:
        return decode_json(body, max_values)
    return await asyncio.to_thread(decode_json, body, max_values)


async def read_model(
    request: Request, model: type[Model], *, may_be_empty: bool = False, max_values: int = MAX_VALUES
) -> Model:
    """The JSON body as a wire model; no body at all as the model's defaults if it ``may_be_empty``."""
    if may_be_empty and not await _body(request):
        return validated(model, {})
    return await model_of(request, model, await read_json(request, max_values))


async def model_of(request: Request, model: type[Model], fields: dict[str, Any]) -> Model:
    """The wire model of a body that ``read_json`` gave. Large ones, which can have many errors, take a while."""
    if len(await _body(request)) < _LARGE_BYTES:
        return validated(model, fields)
    return await asyncio.to_thread(validated, model, fields)


@asynccontextmanager
async def read_either(
    request: Request, model: type[Model], file_field: str
) -> AsyncIterator[tuple[Model, UploadFile | None]]:
    """The JSON body as a wire model; or a form's text fields, and the file that it may bring under ``file_field``,
    open within the block.
    """
    if not is_form(request):
        yield await read_model(request, model), None
        return
    async with open_form(request) as form:
        upload = uploaded_file(form, file_field) if file_field in form else None
        fields = {name: form.getlist(name)[-1] for name in form if name != file_field}
        for name, value in fields.items():
            if isinstance(value, UploadFile):
                raise InvalidRequest(f"The file of this form belongs into the field '{file_field}'.", name)
        yield validated(model, fields, strings=True), upload


def is_form(request: Request) -> bool:
    """Whether the body says that it is a multipart form."""
    return request.headers.get("content-type", "").split(";", 1)[0].strip().lower() == "multipart/form-data"


def uploaded_file(form: FormData, name: str) -> UploadFile:
    """The file that a form brings under ``name``; a text field of that name is none."""
    upload = form.get(name)
    if not isinstance(upload, UploadFile):
        raise InvalidRequest(f"Missing required parameter: '{name}'.", name, "missing_required_parameter")
    if len(upload.filename or "") > _MAX_FILENAME_CHARACTERS:
        raise InvalidRequest(
            f"The file name in '{name}' is longer than {_MAX_FILENAME_CHARACTERS} characters.", name
        )
    return upload


async def _body(request: Request) -> bytes:
    try:
        return await request.body()
    except ClientDisconnect as error:
        raise ClientGone("The client closed the connection while sending the request.") from error


@asynccontextmanager
async def open_form(request: Request, max_fields: int = 32, max_files: int = 1) -> AsyncIterator[FormData]:
    """A multipart form with at most ``max_files`` files; their temporary files are gone after the block."""
    if not is_form(request):
        raise InvalidRequest("This endpoint reads a multipart form that brings a file.", None, "invalid_form")
    _, options = parse_options_header(request.headers["content-type"])
    if options.get(b"charset", b"utf-8").lower() != b"utf-8":
        # Python knows encodings that take very long, and some whose text is no Unicode.
        raise InvalidRequest("Forms are read as UTF-8, no other 'charset'.", None, "invalid_form")
    folder = gateway_of(request).storage.media.spool_folder
    try:
        async with aclosing(request.stream()) as body:
            parser = _FormParser(request.headers, body, folder, max_fields, max_files)
            try:
                form = await parser.parse()
            except BaseException:
                parser.close()
                raise
    except ClientDisconnect as error:
        raise ClientGone("The client closed the connection while sending the request.") from error
    except MultiPartException as error:
        raise InvalidRequest(error.message, None, "invalid_form") from error
    except OSError as error:
        _log.error("A form's file could not be spooled", exc_info=error)
        raise StoreUnavailable("There is no room to receive the file. Try again later.") from error
    try:
        yield form
    finally:
        await form.close()
        parser.close()  # a part that has no end is not in the form


class _FormParser(MultiPartParser):
    """Starlette's parser, with files spooled where all others are; the system's folder may be memory."""

    def __init__(
        self,
        headers: Headers,
        body: AsyncGenerator[bytes, None],
        spool_folder: str | None,
        max_fields: int,
        max_files: int,
    ) -> None:
        super().__init__(headers, body, max_files=max_files, max_fields=max_fields)
        self._spool_folder = spool_folder

    def close(self) -> None:
        """Let go of the files of a form that broke off; Starlette does so for its own errors only."""
        for file in self._files_to_close_on_error:
            file.close()

    def on_headers_finished(self) -> None:
        super().on_headers_finished()
        upload = self._current_part.file
        if upload is not None:
            upload.file.close()  # in memory, and empty
            spool = SpooledTemporaryFile(  # noqa: SIM115 - the form closes it
                max_size=self.spool_max_size, dir=self._spool_folder
            )
            self._files_to_close_on_error.append(spool)
            upload.file = cast(BinaryIO, spool)


def json_schema(model: type[BaseModel], file_field: str | None = None) -> dict[str, Any]:
    """``openapi_extra`` for routes that read their body themselves; with ``file_field`` also as a form that may
    bring a file.
    """
    content: dict[str, Any] = {"application/json": {"schema": reference(model)}}
    if file_field is not None:
        schema = model.model_json_schema(ref_template=REFERENCE)
        schema["properties"][file_field] = {"type": "string", "format": "binary"}
        content["multipart/form-data"] = {"schema": schema}
    return {"requestBody": {"required": True, "content": content}}
