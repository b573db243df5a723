"""``manymodal transcribe``: what is said in a recording or a video."""

from __future__ import annotations

import contextlib
import sys
from enum import StrEnum
from pathlib import Path
from typing import IO, Annotated, Any

import typer

from serving.cli.failures import UnusableInput
from serving.cli.options import DEFAULT_URL, ApiKey, AsJson, Url, connected, harmless, print_json

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
    model: Annotated[str, typer.Option(help="The transcriber.")] = "whisper-1",
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
    with connected(url, api_key) as server, contextlib.ExitStack() as stack:
        name, content = _recording(file, stack)
        with server.translating():
            answer: Any = server.openai.audio.transcriptions.create(file=(name, content), **request)
        if isinstance(answer, str):
            typer.echo(harmless(answer.rstrip("\n")))
        else:
            print_json(answer.to_dict())


def _recording(file: str, stack: contextlib.ExitStack) -> tuple[str, IO[bytes] | bytes]:
    if file != "-":
        from serving.cli.client import open_file

        path = Path(file)
        return path.name, stack.enter_context(open_file(path))
    content = sys.stdin.buffer.read()
    if not content:
        raise UnusableInput("Standard input holds nothing; try `cat talk.mp3 | manymodal transcribe -`.")
    return "stdin", content
