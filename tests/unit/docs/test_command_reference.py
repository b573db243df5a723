"""The command line says what it is: every command and option has a help text, gives JSON, and is on its page."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from documents import REPOSITORY, pages

from serving.cli.exit_codes import EXIT_CODES, ExitCode


@pytest.fixture(scope="module")
def made() -> Iterator[Any]:
    """The module that makes the reference. Modules of hooks find each other by their folder, as MkDocs has it."""
    folder = str(REPOSITORY / "docs" / "hooks")
    sys.path.insert(0, folder)
    try:
        import command_reference

        yield command_reference
    finally:
        sys.path.remove(folder)


def test_every_command_is_told_and_gives_json(made: Any) -> None:
    assert len(made.commands()) > 40
    silent = [name for name, command in made.commands().items() if not command.help]
    without = [
        name
        for name, command in made.commands().items()
        if not any("--json" in one.opts for one in command.params)
    ]
    assert (silent, without) == ([], [])


def test_every_option_and_argument_has_a_help_text(made: Any) -> None:
    silent = [
        f"{name} {'/'.join(one.opts)}"
        for name, command in made.commands().items()
        for one in command.params
        if not one.help
    ]
    assert silent == []


def test_every_command_and_option_is_on_the_page(made: Any) -> None:
    page = made.reference()
    sections = {
        match[1]: match[2]
        for match in re.finditer(
            r"^### `manymodal ([^`]+)`\n(.*?)(?=^### |\Z)", page, re.MULTILINE | re.DOTALL
        )
    }
    missing = [
        f"{name} {option}"
        for name, command in made.commands().items()
        for one in command.params
        if one.param_type_name == "option"
        for option in one.opts
        if option not in made.SHARED_OPTIONS and not re.search(rf"{option}\b", sections[name])
    ]
    assert missing == []
    assert list(sections) == list(made.commands())
    guide = pages()["docs/cli.md"]
    assert all(f"`{option}`" in guide for option in made.SHARED_OPTIONS)
    assert "<!-- generated: commands -->" in guide
    assert "<!-- generated: exit-codes -->" in guide


def test_every_exit_code_is_told(made: Any) -> None:
    assert set(EXIT_CODES) == set(ExitCode)
    table = made.exit_codes()
    assert all(f"| {code.value} | " in table for code in ExitCode)
