"""Whose request is being worked on, in whichever process: for the log, for traces, and to go along with calls.

The gateway begins an origin for every request. Calls of other deployments carry it (``outgoing``), so that what a
replica logs bears the id of the request and the tenant that made it work.
"""

from __future__ import annotations

import time
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TypedDict

from serving import tracing

__all__ = ["Carried", "Carrier", "Origin", "begin", "brings", "current", "named", "outgoing", "received"]

Carrier = dict[str, str]
"""An origin on its way: ``request_id``, ``tenant`` once known, and W3C's ``traceparent`` and ``tracestate``."""


class Carried(TypedDict, total=False):
    """Keyword arguments of a remote call."""

    origin: Carrier


@dataclass(slots=True)
class Origin:
    """A request: its id, when it came (``time.perf_counter``), its tenant as soon as that is known, and what it
    brings: the kind of its media, ``text``, ``mixed``, or ``none``.
    """

    request_id: str
    started: float = field(default_factory=time.perf_counter)
    tenant: str | None = None
    modality: str = "none"


_CURRENT: ContextVar[Origin | None] = ContextVar("manymodal.origin", default=None)


def current() -> Origin | None:
    """The request this task works for; ``None`` in work of the platform's own."""
    return _CURRENT.get()


def begin(request_id: str) -> Origin:
    """From here on this task and those that it starts work for that request."""
    origin = Origin(request_id)
    _CURRENT.set(origin)
    return origin


def named(tenant: str) -> None:
    """The tenant of the current request is known now."""
    origin = _CURRENT.get()
    if origin is not None:
        origin.tenant = tenant


def brings(modality: str) -> None:
    """What the current request brings is known now, or known better."""
    origin = _CURRENT.get()
    if origin is not None:
        origin.modality = modality


def outgoing(span: tracing.open_span | None = None) -> Carried:
    """What a call of another deployment is given besides its arguments; nothing where there is no request. The call
    is part of ``span``, or of the current one.
    """
    origin = _CURRENT.get()
    if origin is None:
        return {}
    carrier: Carrier = {"request_id": origin.request_id}
    if origin.tenant is not None:
        carrier["tenant"] = origin.tenant
    if span is None:
        tracing.inject(carrier)
    else:
        span.inject(carrier)
    return {"origin": carrier}


def received(carrier: Carrier) -> None:
    """Like ``begin``, for a call that came with ``carrier``."""
    _CURRENT.set(Origin(carrier.get("request_id", "-"), tenant=carrier.get("tenant")))
