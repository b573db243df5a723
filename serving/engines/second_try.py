"""A second try where vLLM's processes disagree about a medium.

vLLM's front end sends a processed medium to the engine core once and then only its id, trusting that the core keeps
what it keeps. A request that ended between the two, as one whose client left, leaves them at odds. The core then
fails the next request about this medium, and both forget it, so that the same request goes well a moment later.
vLLM leaves that second request to the client; here it is made before anybody has seen the first.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing

from serving.services import EngineResponse

__all__ = ["answered_again"]

Answer = AsyncGenerator[EngineResponse | bytes, None]


async def answered_again(call: Callable[[], Answer]) -> Answer:
    """What ``call()`` answers; if that begins with a server's error, what a second ``call()`` does.

    Only for requests with native media: others never fail for this reason. The head of the answer comes with its
    first bytes.
    """
    async with aclosing(call()) as answer:
        begun = [item async for item in _beginning(answer)]
        if not _failed(begun):
            for item in begun:
                yield item
            async for item in answer:
                yield item
            return
    async with aclosing(call()) as answer:
        async for item in answer:
            yield item


async def _beginning(answer: Answer) -> Answer:
    """The head, and the first bytes that are more than the opening of a stream."""
    async for item in answer:
        yield item
        if isinstance(item, bytes) and not _is_opening(item):
            return


def _is_opening(chunk: bytes) -> bool:
    """Whether it only opens choices, of which a request may want several."""
    *events, rest = chunk.split(b"\n\n")
    return not rest and all(
        event.startswith(b"data: ") and b'"role":"assistant","content":""' in event for event in events
    )


def _failed(begun: list[EngineResponse | bytes]) -> bool:
    head, body = begun[0], b"".join(item for item in begun[1:] if isinstance(item, bytes))
    if isinstance(head, EngineResponse) and head.status != 200:
        return head.status == 500
    return b'data: {"error"' in body
