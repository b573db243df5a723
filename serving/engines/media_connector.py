"""vLLM's door for media, closed to the world: it gives out what this process put there, and nothing else.

vLLM asks a "media connector" for what stands behind a URL of a chat message. Ours never opens a URL: a decoded
medium is lent under a random ticket for the time of one request, and the URL is the ticket. Should a URL of a
client's ever reach vLLM, nothing is fetched.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

__all__ = ["CONNECTOR", "install_connector", "lent", "take_back"]

CONNECTOR = "manymodal"
"""The name our connector has in vLLM's registry."""

_SCHEME = "manymodal:"

# vLLM makes a connector for every request and gives it nothing of ours, so the lent media lie here. Tickets are
# random: engines in one process do not meet.
_lent: dict[str, Any] = {}


@contextmanager
def lent(media: Sequence[Any]) -> Iterator[tuple[str, ...]]:
    """Lend decoded media, in vLLM's own forms; yields the URL of each. They are taken back at the end, unless that
    was done before (``take_back``).
    """
    urls = tuple(_SCHEME + secrets.token_hex(16) for _ in media)
    _lent.update(zip(urls, media, strict=True))
    del media  # or it would hold them to the end
    try:
        yield urls
    finally:
        take_back(urls)


def take_back(urls: Sequence[str]) -> None:
    """Lend these no longer: vLLM reads media once, before it begins its answer."""
    for url in urls:
        _lent.pop(url, None)


def install_connector() -> None:
    """Make vLLM, in this process, ask only this module for media. Call before the engine is made."""
    from vllm import envs
    from vllm.exceptions import VLLMValidationError
    from vllm.multimodal.media import MEDIA_CONNECTOR_REGISTRY, MediaConnector

    class LendingConnector(MediaConnector):  # type: ignore[misc]  # vLLM ships no types
        """Gives out lent media by their tickets."""

        def load_from_url(self, url: str, *_: Any, **__: Any) -> Any:
            # A value error of vLLM's is answered as the client's mistake, which an unknown URL is.
            if url not in _lent:
                raise VLLMValidationError("Media cannot be given to the model by this kind of URL.")
            return _lent[url]

        async def load_from_url_async(self, url: str, *_: Any, **__: Any) -> Any:
            return self.load_from_url(url)

    MEDIA_CONNECTOR_REGISTRY.register(CONNECTOR)(LendingConnector)
    # vLLM reads the name from its environment, at each request. Replacing the entry, as vLLM's own tables allow,
    # keeps the choice to this process and out of reach of whatever the environment says.
    envs.environment_variables["VLLM_MEDIA_CONNECTOR"] = lambda: CONNECTOR
