"""``manymodal moderate``: what may be harmful in texts and pictures."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from serving.cli.exit_codes import ExitCode
from serving.cli.failures import UnusableInput
from serving.cli.inputs import lent, only_one_standard_input, read_text, require_readable
from serving.cli.messages import print_json, print_table
from serving.cli.options import DEFAULT_URL, ApiKey, AsJson, Model, Url, connected
from serving.cli.plain import plain

if TYPE_CHECKING:
    from serving.cli.client import Server

__all__ = ["moderate"]

_SHOWN_CHARACTERS = 60


def moderate(
    texts: Annotated[
        list[str] | None,
        typer.Argument(metavar="TEXT...", help="Texts; '-' reads standard input as one text."),
    ] = None,
    image: Annotated[
        list[str] | None, typer.Option("--image", "-i", metavar="FILE|URL|ID|-", help="A picture.")
    ] = None,
    model: Model = "omni-moderation-latest",
    url: Url = DEFAULT_URL,
    api_key: ApiKey = None,
    as_json: AsJson = False,
) -> None:
    """Say of each text and picture what may be harmful in it. The exit code is 1 when something is flagged.

    Only harassment and hate in English texts, and sexual content of pictures, are told; the models err, and should
    not decide alone.
    """
    only_one_standard_input(*(texts or ()), *(image or ()))
    require_readable(*(image or ()))
    given = [read_text(text, "") for text in texts or ()]
    if not given and not image:
        missing = 'Nothing to judge. Give a text, like `manymodal moderate "..."`, or --image FILE.'
        given = [read_text(None, missing)]
    if any(not text.strip() for text in given):
        raise UnusableInput("A text is empty; nothing was sent.")
    with connected(url, api_key) as server:
        names = [" ".join(text.split())[:_SHOWN_CHARACTERS] for text in given] + list(image or ())
        results: list[dict[str, Any]] = []
        if given:
            results += _judged(server, model, given)
        for one in image or ():  # parts of one request have one result together
            part = {"type": "image_url", "image_url": {"url": lent(server, one)}}
            results += _judged(server, model, [part])
    if as_json:
        print_json([{"input": name, **result} for name, result in zip(names, results, strict=True)])
    else:
        rows = [
            (_verdict(result), *_highest(result), name) for name, result in zip(names, results, strict=True)
        ]
        print_table(("Verdict", "Most", "Score", "What"), rows, whole=3)
    if any(result["flagged"] for result in results):
        raise typer.Exit(ExitCode.FAILED)


def _judged(server: Server, model: str, given: list[Any]) -> list[dict[str, Any]]:
    with server.translating():
        return list(plain(server.openai.moderations.create(model=model, input=given))["results"])


def _verdict(result: dict[str, Any]) -> str:
    return "flagged" if result["flagged"] else "passed"


def _highest(result: dict[str, Any]) -> tuple[str, str]:
    """The category that scores most, of those that are told at all."""
    told = result.get("category_applied_input_types") or {}
    scores = {name: score for name, score in result["category_scores"].items() if told.get(name)}
    if not scores:
        return "", ""
    name = max(scores, key=lambda category: scores[category])
    return name, f"{scores[name]:.3f}"
