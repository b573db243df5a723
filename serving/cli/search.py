"""``manymodal search``: find what was indexed, by words, a picture, a recording or a video."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Annotated, Any

import typer

from serving.cli.failures import UnusableInput
from serving.cli.inputs import lent, only_one_standard_input, read_text, require_readable
from serving.cli.messages import note, print_json, print_table
from serving.cli.options import DEFAULT_URL, ApiKey, AsJson, Collection, Url, connected
from serving.cli.plain import plain

__all__ = ["Modality", "Mode", "filters_of", "matched_times", "search"]

_MAX_TIMES = 3


class Modality(StrEnum):
    """Kinds of documents."""

    TEXT = "text"
    IMAGE = "image"
    AUDIO = "audio"
    VIDEO = "video"


class Mode(StrEnum):
    """By what is meant, by words, or by both."""

    VECTOR = "vector"
    TEXT = "text"
    HYBRID = "hybrid"


def search(
    query: Annotated[
        str | None, typer.Argument(help="What to look for, in words; '-' reads standard input.")
    ] = None,
    image: Annotated[
        str | None,
        typer.Option("--image", "-i", metavar="FILE|URL|ID|-", help="Look for what is like this picture."),
    ] = None,
    audio: Annotated[
        str | None,
        typer.Option(
            "--audio", "-a", metavar="FILE|URL|ID|-", help="Look for what is said in this recording."
        ),
    ] = None,
    video: Annotated[
        str | None,
        typer.Option("--video", "-v", metavar="FILE|URL|ID|-", help="Look for what is like this video."),
    ] = None,
    top: Annotated[int, typer.Option("--top", "-n", min=1, help="How many.")] = 10,
    modality: Annotated[
        list[Modality] | None, typer.Option("--modality", "-m", help="Only these kinds; may be repeated.")
    ] = None,
    mode: Annotated[
        Mode, typer.Option("--mode", help="Look for what is meant, for the words themselves, or for both.")
    ] = Mode.VECTOR,
    filters: Annotated[
        list[str] | None,
        typer.Option(
            "--filter",
            "-f",
            metavar="NAME=VALUE",
            help="Only documents whose metadata are so; may be repeated. The value may be JSON, also an object "
            'of operators: \'price={"gte": 1, "lt": 5}\'; date_range=last_30_days is the time of adding.',
        ),
    ] = None,
    collection: Collection = "default",
    url: Url = DEFAULT_URL,
    api_key: ApiKey = None,
    as_json: AsJson = False,
) -> None:
    """Find texts, pictures, and the moments in recordings and videos. Words and media may be combined."""
    only_one_standard_input(query, image, audio, video)
    require_readable(image, audio, video)
    with connected(url, api_key) as server:
        queries: list[dict[str, Any]] = []
        words = read_text(query, "") if query else ""
        if words.strip():
            queries.append({"type": "text", "content": words.strip()})
        for kind, given in (("image", image), ("audio", audio), ("video", video)):
            if given is not None:
                queries.append({"type": kind, "content": lent(server, given)})
        if not queries:
            raise UnusableInput(
                'Nothing to look for. Give words, like `manymodal search "a cat"`, or --image FILE.'
            )
        kinds = [one.value for one in modality] if modality else None
        how = None if mode is Mode.VECTOR else mode.value
        conditions = filters_of(filters) if filters else None
        with server.translating():
            found = server.api.search(
                queries,
                top_k=top,
                collection=collection,
                search_modalities=kinds,
                mode=how,
                filters=conditions,
            )
        answer = plain(found)
        if as_json:
            print_json(answer)
        elif answer["results"]:
            _print_hits(answer["results"])
        else:
            note("Nothing was found. `manymodal index PATH` makes things searchable.")


def filters_of(given: Sequence[str]) -> dict[str, Any]:
    """``NAME=VALUE`` options as a search's filters; what is no JSON is a text.

    Raises ``UnusableInput`` for one without a name or a name that comes twice.
    """
    filters: dict[str, Any] = {}
    for option in given:
        name, equals, value = option.partition("=")
        if not equals or not name or name in filters:
            raise UnusableInput(
                f"'{option}' is not a filter: give NAME=VALUE, each name once. Several conditions on one name go "
                'into one object, like \'price={"gte": 1, "lt": 5}\'.'
            )
        try:
            filters[name] = json.loads(value)
        except ValueError:
            filters[name] = value
    return filters


def matched_times(hit: Mapping[str, Any]) -> list[tuple[float, float]]:
    """When in a recording or video it matched, as ``(start_seconds, end_seconds)``, best first."""
    return [
        (match["start_seconds"], match["end_seconds"])
        for match in hit.get("matches", ())
        if match.get("start_seconds") is not None and match.get("end_seconds") is not None
    ]


def _print_hits(hits: list[dict[str, Any]]) -> None:
    rows = []
    for hit in hits:
        times = ", ".join(f"{start:.1f}-{end:.1f} s" for start, end in matched_times(hit)[:_MAX_TIMES])
        metadata = hit.get("metadata") or {}
        what = hit.get("text") or metadata.get("path") or metadata.get("filename") or hit["id"]
        rows.append((f"{hit['similarity_score']:.3f}", hit["type"], " ".join(str(what).split()), times))
    print_table(("Score", "Kind", "What", "When"), rows, whole=2)
