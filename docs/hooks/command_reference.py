"""The reference of the command line: what each command says of itself, and the table of exit codes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import typer
from typer.cli import get_docs_for_click
from typer.main import get_command

from deploy.cli import app
from serving.cli.exit_codes import EXIT_CODES

__all__ = ["SHARED_OPTIONS", "commands", "exit_codes", "reference"]

SHARED_OPTIONS = ("--help", "--json", "--url", "--api-key")
"""Told once on the page, and not again with every command."""

_SHARED = re.compile(
    r"^\* `(?:--help|--json|--url <str>|--api-key <str>)`:"
    r"(?: Show this message and exit\.| Print JSON\.| Where the platform answers\..*| Key of the API,.*)$\n",
    re.MULTILINE,
)
_USAGE = re.compile(r"\*\*Usage\*\*:\n\n```console\n\$ (.*)\n```")
_EMPTY = re.compile(r"\*\*Options\*\*:\n\n(?!\*)")


def commands() -> dict[str, Any]:
    """Every command that does something, by its words, such as ``keys create``."""
    return dict(_below(get_command(app), ""))


def reference() -> str:
    """All commands as Markdown: what each does, its arguments and its options."""
    pages = []
    for name, command in commands().items():
        context = typer.Context(command, info_name=name)
        page = get_docs_for_click(obj=_alone(command), ctx=context, indent=2, name=f"manymodal {name}")
        page = _USAGE.sub(r"```text\n\1\n```", _SHARED.sub("", page))
        pages.append(re.sub(r"\n{3,}", "\n\n", _EMPTY.sub("", page)).replace(" range>`", ">`").strip())
    return "\n\n".join(pages) + "\n"


def exit_codes() -> str:
    """The exit codes as a table."""
    rows = [f"| {code.value} | {meaning} |" for code, meaning in EXIT_CODES.items()]
    return "\n".join(["| code | meaning |", "|---|---|", *rows]) + "\n"


def _below(command: Any, name: str) -> Iterator[tuple[str, Any]]:
    below = getattr(command, "commands", None)
    if below is None or (command.invoke_without_command and command.callback is not None):
        yield name, command
    for word, one in (below or {}).items():
        yield from _below(one, f"{name} {word}".strip())


def _alone(command: Any) -> Any:
    """A group that does something by itself, without what is below it: that has pages of its own."""
    if not getattr(command, "commands", None):
        return command
    return typer.core.TyperCommand(command.name, params=command.params, help=command.help)
