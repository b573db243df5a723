"""Errors as outcomes: what is wrong with an item ends that item, what is wrong with the platform ends the job."""

from __future__ import annotations

import asyncio
import logging

from serving.errors import answer_for
from serving.ingest.items import Item, Outcome
from serving.ingest.retries import ServiceTrouble, is_own_trouble

__all__ = ["failed"]

_log = logging.getLogger("manymodal.gateway")


def failed(item: Item, error: Exception) -> Outcome:
    """The outcome of an item that ``error`` ended.

    Raises ``ServiceTrouble`` when the item is not to blame: the next one would fare no better.
    """
    if isinstance(error, ServiceTrouble | asyncio.CancelledError):
        raise error
    if is_own_trouble(error):
        raise ServiceTrouble(
            getattr(error, "message", "A service of the platform does not answer.")
        ) from error
    answer = answer_for(error)
    message = getattr(error, "message", None)
    if answer is None or not isinstance(message, str):
        _log.error("An item could not be ingested, for an unexpected reason", exc_info=error)
        return item.ended(
            "failed", "internal_error", "The item failed unexpectedly; the log of the gateway says why."
        )
    return item.ended("failed", getattr(error, "code", None) or answer.code, message)
