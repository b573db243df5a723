"""``manymodal speak``: text to speech, into a file or a pipe."""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from serving.cli.failures import UnusableInput
from serving.cli.inputs import read_text
from serving.cli.messages import note, print_json
from serving.cli.options import DEFAULT_URL, ApiKey, AsJson, Model, Url, connected
from serving.cli.outputs import write_pieces

__all__ = ["speak"]

_PIECE_BYTES = 16 << 10


class SpeechFormat(StrEnum):
    """Forms of sound."""

    MP3 = "mp3"
    OPUS = "opus"
    AAC = "aac"
    FLAC = "flac"
    WAV = "wav"
    PCM = "pcm"


_ENDINGS = {**{f".{form.value}": form for form in SpeechFormat}, ".ogg": SpeechFormat.OPUS}


def speak(
    text: Annotated[
        str | None,
        typer.Argument(
            help="What to say. '-', or nothing where something is piped in, reads standard input."
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE|-", help="Where to write; without it, into the pipe."),
    ] = None,
    form: Annotated[
        SpeechFormat | None,
        typer.Option(
            "--format", "-f", help="mp3, unless the file's name ends like another.", show_default=False
        ),
    ] = None,
    voice: Annotated[str, typer.Option(help="The voice.")] = "heart",
    speed: Annotated[float, typer.Option(min=0.25, max=4.0, help="1 is as fast as usual.")] = 1.0,
    model: Model = "tts-1",
    url: Url = DEFAULT_URL,
    api_key: ApiKey = None,
    as_json: AsJson = False,
) -> None:
    """Read a text out, in English. The sound is written while it is being made: `manymodal speak "Hi." | ffplay -`.

    With --json, which wants --output, what was written is said as JSON.
    """
    to_pipe = output is None or str(output) == "-"
    if to_pipe and as_json:
        raise UnusableInput("With --json the sound needs a file: give --output FILE.")
    if to_pipe and sys.stdout.isatty():
        raise UnusableInput("Sound is nothing for a terminal: give --output FILE, or pipe it into a player.")
    words = read_text(text, 'Nothing to say. Give a text, like `manymodal speak "Good morning." -o hi.mp3`.')
    if not words.strip():
        raise UnusableInput("The text is empty; nothing was sent.")
    chosen = form or _ENDINGS.get("" if output is None else output.suffix.lower(), SpeechFormat.MP3)
    with connected(url, api_key) as server, server.translating():
        asked = server.openai.audio.speech.with_streaming_response.create(
            model=model, voice=voice, input=words, response_format=chosen.value, speed=speed
        )
        with asked as answer:
            pieces = answer.iter_bytes(_PIECE_BYTES)
            size_bytes = write_pieces(pieces, None if to_pipe else output)
    if to_pipe:
        return
    if as_json:
        print_json({"path": str(output), "format": chosen.value, "bytes": size_bytes})
    else:
        note(f"{output}: {size_bytes:,} bytes of {chosen.value}.")
