"""``manymodal embed``: vectors of texts and media."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import TYPE_CHECKING, Annotated, Any

import typer

from serving.cli.failures import UnusableInput
from serving.cli.inputs import STANDARD_INPUT, lent, only_one_standard_input, require_readable
from serving.cli.messages import print_json, print_line
from serving.cli.options import DEFAULT_URL, ApiKey, AsJson, Url, connected
from serving.cli.plain import plain

if TYPE_CHECKING:
    from serving.cli.client import Server

__all__ = ["embed"]

_BATCH_TEXTS = 256


def embed(
    texts: Annotated[
        list[str] | None,
        typer.Argument(metavar="TEXT...", help="Texts; '-' reads standard input, where each line is one."),
    ] = None,
    image: Annotated[
        list[str] | None, typer.Option("--image", "-i", metavar="FILE|URL|ID|-", help="A picture.")
    ] = None,
    audio: Annotated[
        list[str] | None,
        typer.Option("--audio", "-a", metavar="FILE|URL|ID|-", help="A recording, by what is said in it."),
    ] = None,
    video: Annotated[
        list[str] | None,
        typer.Option("--video", "-v", metavar="FILE|URL|ID|-", help="A video, by its frames."),
    ] = None,
    model: Annotated[
        str | None, typer.Option(help="The text model (default: the one that is served).", show_default=False)
    ] = None,
    dimensions: Annotated[
        int | None, typer.Option(min=1, help="Length of the vectors, where the model has several.")
    ] = None,
    url: Url = DEFAULT_URL,
    api_key: ApiKey = None,
    as_json: AsJson = False,
) -> None:
    """Print a vector a line, as a JSON list, in the order of what was given: texts, pictures, recordings, videos.

    Lines of standard input are sent as they come, 256 at a time, so any number of them can be piped through.
    --json prints the platform's answer, with tokens and what was seen or heard, one for each of these requests.
    """
    media = [*(image or ()), *(audio or ()), *(video or ())]
    only_one_standard_input(*(texts or ()), *media)
    require_readable(*media)
    if not texts and not media:
        if sys.stdin.isatty():
            raise UnusableInput(
                'Nothing to embed. Give texts, like `manymodal embed "a cat"`, or --image FILE.'
            )
        texts = [STANDARD_INPUT]
    with connected(url, api_key) as server:
        name = model or _served_text_model(server)
        parts: Iterable[Any] = (
            {"type": kind, kind: {"url": lent(server, given)}}
            for kind, references in (("image_url", image), ("audio_url", audio), ("video_url", video))
            for given in references or ()
        )
        for batch in _batches(texts or ()):
            _print(server, name, batch, dimensions, as_json)
        if rest := list(parts):
            _print(server, name, rest, dimensions, as_json)


def _print(server: Server, model: str, given: list[Any], dimensions: int | None, as_json: bool) -> None:
    # As numbers: base64, which is that client's own choice, would give them in another precision than was sent.
    request: dict[str, Any] = {"model": model, "input": given, "encoding_format": "float"}
    if dimensions is not None:
        request["dimensions"] = dimensions
    with server.translating():
        answer = plain(server.openai.embeddings.create(**request))
    if as_json:
        print_json(answer)
        return
    for one in answer["data"]:
        print_line(one["embedding"])


def _batches(texts: Iterable[str]) -> Iterator[list[str]]:
    lines = _lines(texts)
    while batch := list(islice(lines, _BATCH_TEXTS)):
        yield batch


def _lines(texts: Iterable[str]) -> Iterator[str]:
    for text in texts:
        if text != STANDARD_INPUT:
            yield text
            continue
        try:
            for line in sys.stdin:
                if line.strip():
                    yield line.rstrip("\r\n")
        except UnicodeDecodeError:
            raise UnusableInput(
                "Standard input is no UTF-8 text; a medium is given as in `--image -`."
            ) from None


def _served_text_model(server: Server) -> str:
    for model in server.models():
        if (model.get("manymodal") or {}).get("task") == "text":
            return str(model["id"])
    raise UnusableInput("The platform does not say which text model it has; name it with --model.")
