"""The reference of settings: every one there is, its value in each profile, and what operations.md says of it."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from deploy.profile_files import profile_values
from deploy.setting_origins import resolved_settings
from deploy.settings import load_settings

__all__ = ["page"]

_FIRST, _OTHERS = "laptop", ("laptop-hub", "gpu", "cluster")
_PREFIX = "MANYMODAL_"
_ROW = re.compile(r"^\| *(?P<names>`MANYMODAL_[^|]*)\|(?P<middle>[^|]*)\|(?P<what>.*)\| *$", re.MULTILINE)
_LIMIT = re.compile(r"^\| *(?P<names>`[a-z_`, ]+) *\|(?P<default>[^|]*)\|(?P<what>.*)\| *$", re.MULTILINE)
_LINK = re.compile(r"\]\((?P<target>[^)]+)\)")


def page(operations: str, guide: str) -> str:
    """All of it as Markdown; the tables of ``operations`` and of the API guide tell what settings are for."""
    with _without_settings():
        settings = resolved_settings(load_settings({"profile": _FIRST}), {})
    others = {name: dict(_leaves(profile_values(name))) for name in _OTHERS}
    told = {**dict(_told_of_limits(guide)), **dict(_told(operations))}
    lines = [
        "# Settings",
        "",
        "Every setting there is, made from the platform's own. A name's dots become two underscores in its "
        "variable: `chat.context_tokens` is `MANYMODAL_CHAT__CONTEXT_TOKENS`. What wins over what, and what is "
        "behind the more important ones, is told in [Operations](../operations.md#settings); how many replicas "
        "each deployment has, and how they scale, stands in the profiles' files (`deploy/profiles`). "
        "`manymodal config show` prints what holds on a machine and where each value came from.",
        "",
        f"| setting | `{_FIRST}` | other profiles | what |",
        "|---|---|---|---|",
    ]
    for setting in settings:
        if setting.name.startswith("deployments."):
            continue
        differing = [
            f"{name}: {_shown(values[setting.name])}"
            for name, values in others.items()
            if setting.name in values and values[setting.name] != setting.value
        ]
        lines.append(
            f"| `{setting.name}` | {_shown(setting.value)} | {'; '.join(differing)} | {_what(setting.name, told)} |"
        )
    return "\n".join(lines) + "\n"


@contextmanager
def _without_settings() -> Iterator[None]:
    """What is set on the machine that builds is nobody else's default."""
    taken = {name: os.environ.pop(name) for name in list(os.environ) if name.startswith(_PREFIX)}
    try:
        yield
    finally:
        os.environ.update(taken)


def _told(operations: str) -> Iterator[tuple[str, str]]:
    """What the page's tables say of each variable; of several in a row, of each. ``<NAME>`` at a variable's end:
    of all in a section that have no words of their own.
    """
    for row in _ROW.finditer(operations):
        what = _turned(row["what"], "operations.md")
        section = ""
        for name in re.findall(r"`((?:MANYMODAL|_)_[A-Z0-9_]+)(?:<NAME>)?`", row["names"]):
            # `__NAME` behind a variable stands for another one of the same section.
            variable = f"{section}{name}" if name.startswith("__") else name
            section = variable.rpartition("__")[0]
            yield _dotted(variable), what


def _told_of_limits(guide: str) -> Iterator[tuple[str, str]]:
    """What the guide's table of limits says of each."""
    for row in _LIMIT.finditer(guide):
        for name in re.findall(r"`([a-z_]+)`", row["names"]):
            yield f"limits.{name}", _turned(row["what"], "api.md")


def _what(name: str, told: Mapping[str, str]) -> str:
    """What is said of a setting, of the section it is in, or, of a section that is not set, of its first one."""
    first = next((what for known, what in told.items() if known.startswith(f"{name}.")), "")
    return told.get(name) or told.get(name.rpartition(".")[0]) or first


def _dotted(variable: str) -> str:
    return variable.removeprefix(_PREFIX).lower().replace("__", ".").removesuffix(".")


def _turned(words: str, page: str) -> str:
    """A table's words with its links as they must be from a page of ``reference/``."""

    def rebased(link: re.Match[str]) -> str:
        target = link["target"]
        if re.match(r"[a-z]+:", target):
            return link[0]
        return f"](../{page}{target})" if target.startswith("#") else f"](../{target})"

    return _LINK.sub(rebased, words.strip())


def _leaves(values: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        if isinstance(value, Mapping) and value:
            yield from _leaves(value, f"{path}{name}.")
        else:
            yield f"{path}{name}", value


def _shown(value: Any) -> str:
    if value is None or value in ("", {}, []):
        return ""
    text = str(value) if isinstance(value, str) else json.dumps(value)
    return f"`{text.replace(str(Path.home()), '~')}`"
