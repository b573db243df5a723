"""``manymodal chat``: ask about anything, the answer streams."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from serving.cli.failures import UnusableInput
from serving.cli.inputs import only_one_standard_input, read_text, require_readable, stored
from serving.cli.messages import harmless, print_json
from serving.cli.options import DEFAULT_URL, ApiKey, AsJson, Model, Url, connected

if TYPE_CHECKING:
    from serving.cli.client import Server

__all__ = ["chat"]

_KINDS = ("image_url", "audio_url", "video_url")


def chat(
    prompt: Annotated[
        str | None,
        typer.Argument(
            help="The question. '-', or nothing where something is piped in, reads standard input."
        ),
    ] = None,
    image: Annotated[
        list[str] | None, typer.Option("--image", "-i", metavar="FILE|URL|ID|-", help="A picture.")
    ] = None,
    audio: Annotated[
        list[str] | None, typer.Option("--audio", "-a", metavar="FILE|URL|ID|-", help="A recording.")
    ] = None,
    video: Annotated[
        list[str] | None, typer.Option("--video", "-v", metavar="FILE|URL|ID|-", help="A video.")
    ] = None,
    system: Annotated[str | None, typer.Option(help="Instructions for the model.")] = None,
    model: Model = "default",
    max_tokens: Annotated[int | None, typer.Option(min=1, help="Longest answer.")] = None,
    temperature: Annotated[
        float | None, typer.Option(min=0.0, max=2.0, help="0 is the likeliest answer.")
    ] = None,
    url: Url = DEFAULT_URL,
    api_key: ApiKey = None,
    as_json: AsJson = False,
) -> None:
    """Ask about text, pictures, recordings and videos in any combination; each option may be repeated.

    The answer is printed while it is written. At a terminal, without a question, a conversation begins: its
    commands are /image FILE, /audio FILE, /video FILE, /new, /help and /quit.
    """
    with connected(url, api_key) as server:
        request: dict[str, Any] = {"model": model}
        if max_tokens is not None:
            request["max_tokens"] = max_tokens
        if temperature is not None:
            request["temperature"] = temperature
        if prompt is None and not as_json and sys.stdin.isatty() and sys.stdout.isatty():
            from serving.cli.conversation import Conversation

            talk = Conversation(server, request, system)
            for kind, references in zip(_KINDS, (image, audio, video), strict=True):
                for reference in references or ():
                    talk.bring(kind, reference)
            talk.run()
            return
        ask = [*(image or ()), *(audio or ()), *(video or ())]
        # Nothing but a medium may be piped in; then the question must be an argument.
        question = prompt if "-" in ask and prompt is not None else _question(prompt, ask)
        only_one_standard_input(prompt, *ask)
        require_readable(*ask)
        content: list[dict[str, Any]] = [
            part(server, kind, reference)
            for kind, references in zip(_KINDS, (image, audio, video), strict=True)
            for reference in references or ()
        ]
        content.append({"type": "text", "text": question})
        messages: list[Any] = [{"role": "system", "content": system}] if system else []
        request["messages"] = [*messages, {"role": "user", "content": content}]
        with server.translating():
            if as_json:
                print_json(server.openai.chat.completions.create(**request).to_dict())
            else:
                stream_answer(server, request)


def part(server: Server, kind: str, reference: str) -> dict[str, Any]:
    """A content part. Local files are uploaded and go by their id."""
    return {"type": kind, kind: {"url": stored(server, reference)}}


def stream_answer(server: Server, request: dict[str, Any]) -> str:
    """Print an answer as it comes, and return it. At a terminal what was used of media goes to standard error."""
    from serving.cli.used import describe_medium, media_used

    used: list[dict[str, Any]] = []
    pieces: list[str] = []
    terminal = sys.stdout.isatty()
    with server.openai.chat.completions.create(**request, stream=True) as events:
        for event in events:
            used += media_used(event)
            for choice in event.choices:
                text = choice.delta.content or ""
                pieces.append(text)
                typer.echo(harmless(text) if terminal else text, nl=False)
    typer.echo()
    if sys.stderr.isatty():
        from serving.cli.messages import note

        for medium in used:
            note(describe_medium(medium), "dim")
    return "".join(pieces)


def _question(prompt: str | None, media: Sequence[str]) -> str:
    if prompt is None and "-" in media:
        raise UnusableInput(
            'A medium is piped in: give the question too, as in `manymodal chat -i - "What?"`.'
        )
    question = read_text(
        prompt, 'Nothing was asked. Give a question, like `manymodal chat "What is a cat?"`.'
    )
    if not question.strip():
        raise UnusableInput("The question is empty; nothing was sent.")
    return question
