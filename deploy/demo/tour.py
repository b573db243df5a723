"""The tour: shows what the platform does with the samples, and fails when it does not do it.

Driven by the official ``openai`` client and, for what OpenAI has not, by plain HTTP. Works again on a
platform that has seen it before; then most perception comes from the cache.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TypeVar

from rich.console import Console

from deploy.demo.asking import ask
from deploy.demo.finding import find, index_all
from deploy.demo.library import Library
from deploy.demo.report import Step, TourReport, print_report
from deploy.demo.samples import Samples
from deploy.demo.script import QUESTIONS, SEARCHES
from deploy.demo.transcribing import transcribe
from deploy.errors import TourFailed
from serving.cli.client import Server
from serving.cli.failures import ClientFailure

__all__ = ["run_tour"]

T = TypeVar("T")


def run_tour(base_url: str, samples: Samples, console: Console, api_key: str | None = None) -> TourReport:
    """Walk through the platform at ``base_url`` with ``samples``, printing to ``console``.

    Raises ``TourFailed`` with a sentence that says which step gave what instead of what it must.
    """
    steps: list[Step] = []
    with Server(base_url, api_key) as server:
        library = Library(server, samples, console)
        picture, together, video = QUESTIONS["picture"], QUESTIONS["together"], QUESTIONS["video"]

        steps.append(_step(console, picture.title, partial(ask, server, library, picture, console)))
        steps.append(_step(console, "Transcribe a recording", partial(transcribe, server, library, console)))
        steps.append(_step(console, together.title, partial(ask, server, library, together, console)))
        steps.append(_step(console, video.title, partial(ask, server, library, video, console)))
        indexing = partial(index_all, server, library, console)
        indexed, version = _step(console, "Make everything searchable", indexing)
        steps.append(indexed)
        steps += [
            _step(console, wanted.title, partial(find, server, library, wanted, version, console))
            for wanted in SEARCHES
        ]
    report = TourReport(tuple(steps))
    console.print()
    console.rule("[bold]Every step gave what it must", align="left")
    print_report(report, console)
    return report


def _step(console: Console, title: str, action: Callable[[], T]) -> T:
    console.print()
    console.rule(f"[bold]{title}", align="left")
    try:
        return action()
    except (ClientFailure, TourFailed) as failure:
        raise TourFailed(f"{title}: {failure.message}") from failure
