"""What an answer may lack while a part of the platform is down, so that there is one at all; and how it says so.

One table holds for everything (``RULES``). What is lacking stands in the header ``x-manymodal-degraded`` and in the
answer's ``manymodal.degraded``. Nothing that lacks a part is kept as if it were whole, and what a moderation policy
wants looked at is never left out: there the request fails.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final, Literal, TypeAlias, TypeVar

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from encoders.types import MediaKind
from search.errors import SearchUnavailable
from serving.errors import PerceptionTimeout, ServiceBusy, ServiceUnavailable
from serving.services import Pools

__all__ = [
    "HEADER",
    "MAY_BE_MISSING",
    "RULES",
    "Degradation",
    "DegradationMiddleware",
    "Part",
    "Rule",
    "is_down",
    "lacking",
    "note",
]

T = TypeVar("T")
_LOG = logging.getLogger("manymodal.gateway")

HEADER = "x-manymodal-degraded"

Part: TypeAlias = Literal["ocr", "transcript", "rerank", "words", "vectors"]


@dataclass(frozen=True, slots=True)
class Rule:
    """What can be done without, of which deployment it is, and what an answer is like without it."""

    pool: str
    without: str


RULES: Final[Mapping[Part, Rule]] = MappingProxyType(
    {
        "ocr": Rule("ocr", "pictures are understood without the text in them"),
        "transcript": Rule("audio", "videos are understood without what is said in them"),
        "rerank": Rule("search", "hits are in the order of the first search"),
        "words": Rule("search", "hybrid searches go by vectors only"),
        "vectors": Rule("text", "hybrid searches go by words only"),
    }
)

MAY_BE_MISSING: Final = frozenset({"ocr", "audio"})
"""Deployments without which a gateway is still ready. Without ``text`` most of search is gone, hybrid is not."""

_LOOK_SECONDS = 1.0
_PARTS_OF: Final[Mapping[MediaKind, frozenset[str]]] = {
    MediaKind.IMAGE: frozenset({"ocr"}),
    MediaKind.VIDEO: frozenset({"transcript"}),
    MediaKind.AUDIO: frozenset(),  # what is said is all there is
}

_LACKING: ContextVar[set[Part] | None] = ContextVar("manymodal.lacking", default=None)


def note(part: Part) -> None:
    """The answer of the current request lacks a part."""
    parts = _LACKING.get()
    if parts is not None and part not in parts:
        parts.add(part)
        _LOG.warning("An answer lacks '%s': %s.", part, RULES[part].without)


def lacking() -> list[Part]:
    """What the answer of the current request lacks so far."""
    return sorted(_LACKING.get() or ())


def is_down(error: BaseException) -> bool:
    """Whether an error says that a service is away, rather than busy, slow, or refusing what it was given."""
    if isinstance(error, ServiceBusy | PerceptionTimeout):
        return False
    return isinstance(error, ServiceUnavailable | SearchUnavailable)


class Degradation:
    """Waits for parts that may be lacking. One per gateway."""

    def __init__(self, pools: Pools | None) -> None:
        self._pools = pools

    def may_lack(self, kind: MediaKind, task: str) -> bool:
        """Whether an answer about a medium of this kind may lack what a task of the encoders gives."""
        return task in _PARTS_OF[kind]

    async def unless_down(self, part: Part, work: Coroutine[Any, Any, T]) -> T | None:
        """What ``work`` gives; ``None``, noted, when the deployment that it needs is down.

        A call of a deployment without replicas would wait for one to come; who can do without does not.
        """
        task = asyncio.ensure_future(work)
        try:
            while not (await asyncio.wait({task}, timeout=_LOOK_SECONDS))[0]:
                if await self._has_no_replica(RULES[part].pool):
                    note(part)
                    return None
            return task.result()
        except (ServiceUnavailable, SearchUnavailable) as error:
            if not is_down(error):
                raise
            note(part)
            return None
        finally:
            if not task.done():
                task.cancel()
                await asyncio.wait({task})

    async def _has_no_replica(self, pool: str) -> bool:
        """Whether a deployment should have replicas, and none of them runs."""
        if self._pools is None or pool not in self._pools.names:
            return False  # one that shares replicas with others is not told of
        for status in await self._pools.status():
            if status.name == pool:
                return bool(status.target_replicas) and not status.replicas.get("running")
        return False


class DegradationMiddleware:
    """Says in the answer's header what it lacks; in streams, what was known to be lacking as they began."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        parts: set[Part] = set()
        _LACKING.set(parts)

        async def send_saying(message: Message) -> None:
            if parts and message["type"] == "http.response.start":
                MutableHeaders(scope=message)[HEADER] = ", ".join(sorted(parts))
            await send(message)

        await self._app(scope, receive, send_saying)
