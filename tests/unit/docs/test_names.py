"""What pages tell a reader to type exists: make targets, commands with their options, settings, functions."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import is_dataclass
from typing import Any, Literal, get_args, get_origin, get_type_hints

import pytest
import typer
from documents import REPOSITORY, code_blocks, pages
from pydantic import BaseModel

from deploy.cli import app
from deploy.settings import Settings

MAKEFILE = (REPOSITORY / "Makefile").read_text("utf-8")
TARGETS = set(re.findall(r"^([a-z][a-z0-9-]*):", MAKEFILE, re.MULTILINE))
COMMANDS = typer.main.get_command(app)

# What the changelog tells of may be gone; what an old decision says need not hold any more.
NOW = [path for path in pages() if path != "CHANGELOG.md" and not path.startswith("docs/adr/")]

CLIENT_VARIABLES = {"MANYMODAL_URL", "MANYMODAL_API_KEY", "MANYMODAL_SECRET"}


def typed(page: str) -> Iterator[str]:
    """Lines of shell in a page, and code in its sentences."""
    for language, body in code_blocks(page):
        if language in ("sh", "bash", "console"):
            yield from re.sub(r"\\\n\s*", " ", body).splitlines()
    prose = re.sub(r"^```.*?^```$", "", page, flags=re.MULTILINE | re.DOTALL)
    yield from re.findall(r"`([^`\n]+)`", prose)


@pytest.mark.parametrize("path", NOW)
def test_make_targets_exist(path: str) -> None:
    named = {
        word
        for line in typed(pages()[path])
        for words in re.findall(r"(?:^|[\s;&|])make((?: [a-z][a-z0-9-]*)+)", line)
        for word in words.split()
    }
    assert named <= TARGETS, named - TARGETS


def command_lines(page: str) -> Iterator[list[str]]:
    """Words after ``manymodal``, up to where another command begins."""
    for line in typed(page):
        for part in re.split(r"\||&&|;|\$\(|\)", line.partition(" #")[0]):
            if "manymodal " not in part:
                continue
            before, _, after = part.partition("manymodal ")
            if before.strip() and not re.fullmatch(r"(?:\s*(?:exec|time|if|[A-Z_]+=\S*)\s*)+|.*/", before):
                continue
            try:
                yield shlex.split(re.sub(r"[<>].*", "", after))
            except ValueError:
                yield re.sub(r"[<>'\"].*", "", after).split()


def unknown_words(words: list[str]) -> list[str]:
    """Commands and options among ``words`` that the command line does not have."""
    command: Any = COMMANDS
    rest = list(words)
    while (among := getattr(command, "commands", None)) and rest and re.fullmatch(r"[a-z][a-z-]*", rest[0]):
        if rest[0] not in among:
            return [rest[0]]
        command, rest = among[rest[0]], rest[1:]
    options = {name for one in command.params for name in (*one.opts, *one.secondary_opts)}
    given = (word.partition("=")[0].rstrip(",") for word in rest if re.match(r"--?[a-z]", word))
    return [name for name in given if name not in options | {"--help"}]


@pytest.mark.parametrize("path", NOW)
def test_commands_and_their_options_exist(path: str) -> None:
    wrong = {
        " ".join(words): unknown
        for words in command_lines(pages()[path])
        if words and re.match(r"[a-z-]", words[0]) and (unknown := unknown_words(words))
    }
    assert not wrong


def test_what_does_not_exist_would_be_found() -> None:
    page = "```sh\nA=1 manymodal serve --prot 80 | manymodal sing\nmake nonsense\n```\n"
    assert list(map(unknown_words, command_lines(page))) == [["--prot"], ["sing"]]
    assert not is_setting("MANYMODAL_CHAT__NONSENSE")
    assert not is_setting("MANYMODAL_DEPLOYMENTS__NONSENSE__NUM_REPLICAS")
    assert is_setting("MANYMODAL_CHAT__MODEL")
    assert is_setting("MANYMODAL_DEPLOYMENTS__ENGINE__NUM_REPLICAS")


def is_setting(variable: str) -> bool:
    """Whether a variable, or the beginning of one (ending in ``_``), is a setting."""
    kind: Any = Settings
    *path, last = variable.removeprefix("MANYMODAL_").lower().split("__")
    for name in path:
        kind = fields_of(kind).get(name)
        if kind is None:
            return False
    known = fields_of(kind)
    return (
        last in known
        or "*" in known
        or (last.endswith("_") and any(one.startswith(last) for one in known))
        or not last
    )


class _Any(dict[str, Any]):
    """The fields of a mapping: whatever name, one kind of value."""

    def __init__(self, kind: Any) -> None:
        super().__init__({"*": kind})

    def get(self, key: str, default: Any = None) -> Any:
        return self["*"]


def fields_of(kind: Any) -> dict[str, Any]:
    """Names and kinds of what a setting's kind holds."""
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return {name: field.annotation for name, field in kind.model_fields.items()}
    if is_dataclass(kind) and isinstance(kind, type):
        return get_type_hints(kind)
    origin = get_origin(kind)
    if isinstance(origin, type) and issubclass(origin, Mapping):
        key, value = get_args(kind)
        return dict.fromkeys(get_args(key), value) if get_origin(key) is Literal else _Any(value)
    for one in get_args(kind):
        found = fields_of(one)
        if found:
            return found
    return {}


@pytest.mark.parametrize("path", NOW)
def test_settings_exist(path: str) -> None:
    named = set(re.findall(r"\bMANYMODAL_[A-Z][A-Z0-9_]*", pages()[path])) - CLIENT_VARIABLES
    assert not {name for name in named if not is_setting(name)}


def test_the_life_of_a_request_names_what_there_is() -> None:
    named = re.findall(r"\]\(\.\./([^)]+\.py)\): `(\w+)`", pages()["docs/request.md"])
    assert len(named) > 30
    lost = [
        (path, name)
        for path, name in named
        if not re.search(
            rf"^\s*(?:async def|def|class) {name}\b", (REPOSITORY / path).read_text("utf-8"), re.MULTILINE
        )
    ]
    assert not lost
