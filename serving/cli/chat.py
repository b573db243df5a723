"""``manymodal chat``: ask about anything, the answer streams."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from serving.cli.failures import UnusableInput
from serving.cli.options import DEFAULT_URL, ApiKey, AsJson, Url, connected, harmless, print_json

if TYPE_CHECKING:
    from serving.cli.client import Server

__all__ = ["chat"]

_REMOTE = re.compile(r"https?://.*|data:.*|file-[0-9a-f]{32}", re.DOTALL)


def chat(
    prompt: Annotated[
        str | None, typer.Argument(help="The question; '-' or none reads standard input.")
    ] = None,
    image: Annotated[
        list[str] | None, typer.Option("--image", "-i", metavar="FILE|URL", help="A picture.")
    ] = None,
    audio: Annotated[
        list[str] | None, typer.Option("--audio", "-a", metavar="FILE|URL", help="A recording.")
    ] = None,
    video: Annotated[
        list[str] | None, typer.Option("--video", "-v", metavar="FILE|URL", help="A video.")
    ] = None,
    system: Annotated[str | None, typer.Option(help="Instructions for the model.")] = None,
    model: Annotated[str, typer.Option(help="The chat model.")] = "default",
    max_tokens: Annotated[int | None, typer.Option(min=1, help="Longest answer.")] = None,
    temperature: Annotated[
        float | None, typer.Option(min=0.0, max=2.0, help="0 is the likeliest answer.")
    ] = None,
    url: Url = DEFAULT_URL,
    api_key: ApiKey = None,
    as_json: AsJson = False,
) -> None:
    """Ask about text, pictures, recordings and videos in any combination; each option may be repeated."""
    with connected(url, api_key) as server:
        question = _question(prompt)
        media = [("image_url", image), ("audio_url", audio), ("video_url", video)]
        content: list[dict[str, Any]] = [
            _part(server, kind, reference) for kind, references in media for reference in references or ()
        ]
        content.append({"type": "text", "text": question})
        messages: list[Any] = [{"role": "system", "content": system}] if system else []
        messages.append({"role": "user", "content": content})
        request: dict[str, Any] = {"model": model, "messages": messages}
        if max_tokens is not None:
            request["max_tokens"] = max_tokens
        if temperature is not None:
            request["temperature"] = temperature
        with server.translating():
            if as_json:
                print_json(server.openai.chat.completions.create(**request).to_dict())
            else:
                _stream(server, request)


def _stream(server: Server, request: dict[str, Any]) -> None:
    """Print the answer as it comes; at a terminal also what was used of the media, on standard error."""
    from serving.cli.used import describe_medium, media_used

    used: list[dict[str, Any]] = []
    terminal = sys.stdout.isatty()
    with server.openai.chat.completions.create(**request, stream=True) as events:
        for event in events:
            used += media_used(event)
            for choice in event.choices:
                text = choice.delta.content or ""
                sys.stdout.write(harmless(text) if terminal else text)
                sys.stdout.flush()
    typer.echo()
    if sys.stderr.isatty():
        for medium in used:
            typer.secho(harmless(describe_medium(medium)), err=True, dim=True)


def _question(prompt: str | None) -> str:
    if prompt is None and sys.stdin.isatty():
        raise UnusableInput('Nothing was asked. Give a question, like `manymodal chat "What is a cat?"`.')
    question = sys.stdin.read() if prompt in (None, "-") else prompt
    if not question or not question.strip():
        raise UnusableInput("The question is empty; nothing was sent.")
    return question


def _part(server: Server, kind: str, reference: str) -> dict[str, Any]:
    """A content part. Local files are uploaded, of any size in little memory, and go by their id."""
    path = Path(reference)
    if _REMOTE.fullmatch(reference) and not path.exists():
        return {"type": kind, kind: {"url": reference}}
    return {"type": kind, kind: {"url": server.upload(path)["id"]}}
