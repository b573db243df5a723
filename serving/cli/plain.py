"""Answers of the clients as they came, for JSON."""

from __future__ import annotations

from typing import Any

from serving.cli.failures import RequestRefused

__all__ = ["plain"]


def plain(answer: Any) -> Any:
    """What a model of OpenAI's client or of ours was read from. Raises ``RequestRefused`` when it is none: then the
    server answered with something else than JSON.
    """
    to_dict = getattr(answer, "to_dict", None)
    if to_dict is None:
        raise RequestRefused("The server answered with something else than JSON; is it Manymodal?")
    return to_dict(mode="json")
