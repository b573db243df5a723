"""What commands print: results on standard output, everything else on standard error."""

from __future__ import annotations

import json
import re
import sys
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

__all__ = ["harmless", "note", "notes", "print_json", "print_line", "print_table", "say_error"]

_CONTROLS = dict.fromkeys([*range(0x09), *range(0x0B, 0x20), *range(0x7F, 0xA0)])
_UNSAFE_IN_JSON = re.compile("[\x7f-\x9f\ud800-\udfff]")  # which JSON itself lets through
_PLAIN: dict[str, Any] = {"highlight": False, "markup": False, "soft_wrap": True}


def harmless(text: str) -> str:
    """``text`` without control characters: what strangers wrote or a model says must not steer a terminal."""
    return text.translate(_CONTROLS)


def print_json(value: Any) -> None:
    """``value`` on standard output, indented."""
    typer.echo(_json(value, indent=2))


def print_line(value: Any) -> None:
    """``value`` as JSON on one line of standard output."""
    typer.echo(_json(value))


def print_table(headings: tuple[str, ...], rows: list[tuple[Any, ...]], whole: int = 1) -> None:
    """A table on standard output; nothing in it is read as markup. The first ``whole`` columns are never cut."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table: Table = Table(box=None, pad_edge=False)
    for place, heading in enumerate(headings):
        table.add_column(heading, no_wrap=place < whole, overflow="fold")
    for row in rows:
        table.add_row(*(Text(harmless("" if cell is None else str(cell))) for cell in row))
    # Rich takes 80 columns where there is no terminal and would fold what a script is to read.
    width = None if sys.stdout.isatty() else 10_000
    console: Console = Console(highlight=False, width=width)
    console.print(table)


def notes() -> Console:
    """Standard error, for progress and remarks. Colours only on a terminal, and not where NO_COLOR is set."""
    from rich.console import Console

    return Console(stderr=True, highlight=False)


def note(text: str, style: str | None = None) -> None:
    """A remark on standard error."""
    notes().print(harmless(text), style=style, **_PLAIN)


def say_error(message: str) -> None:
    """What went wrong, as one sentence on standard error."""
    note(f"Error: {message}", "red")


def _json(value: Any, indent: int | None = None) -> str:
    """Readable in all languages; what would steer a terminal, or cannot be written as UTF-8, is escaped."""
    text = json.dumps(value, indent=indent, ensure_ascii=False)
    return _UNSAFE_IN_JSON.sub(lambda found: f"\\u{ord(found[0]):04x}", text)
