"""``manymodal transcribe``: what is said in a recording or a video."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any

import typer

from serving.cli.inputs import opened
from serving.cli.messages import harmless, print_json
from serving.cli.options import DEFAULT_URL, ApiKey, AsJson, Model, Url, connected

__all__ = ["transcribe"]


class TranscriptFormat(StrEnum):
    """The forms OpenAI knows."""

    TEXT = "text"
    JSON = "json"
    SRT = "srt"
    VTT = "vtt"
    VERBOSE_JSON = "verbose_json"


def transcribe(
    file: Annotated[
        str, typer.Argument(metavar="FILE|-", help="A recording or a video; '-' reads standard input.")
    ],
    form: Annotated[
        TranscriptFormat, typer.Option("--format", "-f", help="What to print.")
    ] = TranscriptFormat.TEXT,
    language: Annotated[str | None, typer.Option(help="ISO-639-1 code; detected when left out.")] = None,
    model: Model = "whisper-1",
    url: Url = DEFAULT_URL,
    api_key: ApiKey = None,
    as_json: AsJson = False,
) -> None:
    """Print what is said: as text, as subtitles (srt, vtt), or with times (verbose_json)."""
    if as_json and form is TranscriptFormat.TEXT:
        form = TranscriptFormat.JSON
    request: dict[str, Any] = {"model": model, "response_format": form.value}
    if language:
        request["language"] = language
    if form is TranscriptFormat.VERBOSE_JSON:
        request["timestamp_granularities"] = ["segment", "word"]
    with connected(url, api_key) as server, opened(file) as (name, content):
        with server.translating():
            answer: Any = server.openai.audio.transcriptions.create(file=(name, content), **request)
        if not isinstance(answer, str):
            print_json(answer.to_dict())
        elif as_json:
            print_json({"format": form.value, "text": answer})
        else:
            typer.echo(harmless(answer.rstrip("\n")))
