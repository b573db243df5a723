"""vLLM's door for media and soft tokens, closed to the world: it gives out what this process put there.

vLLM asks a "media connector" for what stands behind a URL of a chat message. Ours never opens a URL: a decoded
medium is lent under a random ticket for the time of one request, and the URL is the ticket. Should a URL of a
client's ever reach vLLM, nothing is fetched. Soft tokens are lent likewise: vLLM would have their bytes unpickled,
which takes milliseconds for each, and is a door that is better shut.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

__all__ = ["CONNECTOR", "install_connector", "install_soft_loader", "lent", "take_back"]

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
    from vllm.multimodal.media import MEDIA_CONNECTOR_REGISTRY, MediaConnector

    class LendingConnector(MediaConnector):  # type: ignore[misc]  # vLLM ships no types
        """Gives out lent media by their tickets."""

        def load_from_url(self, url: str, *_: Any, **__: Any) -> Any:
            return _borrowed(url)

        async def load_from_url_async(self, url: str, *_: Any, **__: Any) -> Any:
            return self.load_from_url(url)

    MEDIA_CONNECTOR_REGISTRY.register(CONNECTOR)(LendingConnector)
    # vLLM reads the name from its environment, at each request. Replacing the entry, as vLLM's own tables allow,
    # keeps the choice to this process and out of reach of whatever the environment says.
    envs.environment_variables["VLLM_MEDIA_CONNECTOR"] = lambda: CONNECTOR


def install_soft_loader() -> None:
    """Make vLLM, in this process, take soft tokens of chats from here only. Call before the engine is made."""
    from vllm.renderers import chat_utils

    def load(model_config: Any, ticket: bytes) -> Any:
        return _borrowed(ticket.decode("latin-1")).to(model_config.dtype)

    async def load_async(model_config: Any, ticket: bytes) -> Any:
        return load(model_config, ticket)

    for name, ours in (("safe_load_prompt_embeds", load), ("safe_load_prompt_embeds_async", load_async)):
        if not hasattr(chat_utils, name):  # another vLLM: the contract tests say so before users do
            raise RuntimeError(f"vLLM has no {name} to be replaced.")
        setattr(chat_utils, name, ours)


def _borrowed(ticket: str) -> Any:
    from vllm.exceptions import VLLMValidationError

    # A value error of vLLM's is answered as the client's mistake, which an unknown ticket is.
    if ticket not in _lent:
        raise VLLMValidationError("Media cannot be given to the model by this kind of reference.")
    return _lent[ticket]
