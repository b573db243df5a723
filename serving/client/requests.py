"""What a call of the client asks for, before anything is sent: the same for both clients."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import IO, Any, Generic, TypeAlias, TypeVar
from urllib.parse import quote, urlencode

import openai

__all__ = ["Ask", "Page", "Pause", "Request", "Route", "Upload", "opened"]

T = TypeVar("T")
ItemT = TypeVar("ItemT")

Content: TypeAlias = str | os.PathLike[str] | bytes | IO[bytes]
Upload: TypeAlias = Content | tuple[str, Content]
"""A file to send: its path, its bytes, an open file, or a name and one of these. Read while it is sent."""

_PARAMETER = re.compile(r"\{(\w+)\}")


@dataclass(frozen=True, slots=True)
class Route:
    """A method and a path template below ``/v1``, such as ``GET /media/{media_id}``."""

    method: str
    template: str

    @classmethod
    def of(cls, text: str) -> Route:
        """Read from that form."""
        method, _, template = text.partition(" ")
        return cls(method, template)


@dataclass(frozen=True, slots=True)
class Request:
    """What one call says: the path's parameters, a JSON body, the query, files by the names of a form's fields.

    ``None`` stands for what is left out. With files the body becomes the form's other fields.
    """

    path: Mapping[str, str] = field(default_factory=dict)
    body: Mapping[str, Any] | None = None
    query: Mapping[str, Any] = field(default_factory=dict)
    files: Mapping[str, Upload] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Ask(Generic[T]):
    """A request to a route, and what its answer is read as."""

    route: Route
    request: Request
    answer: type[T]

    def address(self) -> str:
        """Relative to the base address. Raises ``ValueError`` for a parameter that would lead to another route."""

        def value(found: re.Match[str]) -> str:
            given = str(self.request.path[found[1]])
            if given in ("", ".", ".."):
                raise ValueError(f"'{given}' is no {found[1]}.")
            return quote(given, safe="")

        query = urlencode(_given(self.request.query), doseq=True)
        return _PARAMETER.sub(value, self.route.template) + (f"?{query}" if query else "")

    def options(self, files: Mapping[str, Any]) -> dict[str, Any]:
        """Keyword arguments of the openai client's ``get``, ``post``, ``put`` and ``delete``."""
        options: dict[str, Any] = {"cast_to": self.answer}
        if self.request.body is not None:
            options["body"] = _given(self.request.body)
        if files:
            options["files"] = files
            options["options"] = {"headers": {"content-type": "multipart/form-data"}}
        return options

    def also(self, more: Mapping[str, Any]) -> Ask[T]:
        """The same, with more in the query of a ``GET`` and in the body of all else."""
        if self.route.method == "GET":
            return replace(self, request=replace(self.request, query={**self.request.query, **more}))
        return replace(self, request=replace(self.request, body={**(self.request.body or {}), **more}))


@dataclass(frozen=True, slots=True)
class Pause:
    """A wait between two requests."""

    seconds: float


class Page(openai.BaseModel, Generic[ItemT]):
    """One page of a list."""

    def items(self) -> list[ItemT]:
        """What is on it."""
        raise NotImplementedError

    def following(self) -> Mapping[str, Any] | None:
        """What asks for the next page; ``None`` after the last one."""
        raise NotImplementedError


def _given(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


@contextlib.contextmanager
def opened(files: Mapping[str, Upload]) -> Iterator[dict[str, Any]]:
    """Files as the openai client takes them; those that are given by their paths are open meanwhile."""
    with contextlib.ExitStack() as stack:
        ready: dict[str, Any] = {}
        for field_name, file in files.items():
            name, content = file if isinstance(file, tuple) else (None, file)
            if isinstance(content, str | os.PathLike):
                name = os.path.basename(content) if name is None else name
                content = stack.enter_context(open(content, "rb"))
            ready[field_name] = content if name is None else (name, content)
        yield ready
