"""Who asks: the tenant, the key it used, and what that key may do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, get_args

__all__ = ["ALL_SCOPES", "CALLER_KEY", "Caller", "Scope"]

Scope = Literal["chat", "audio", "embeddings", "moderations", "search", "files", "batches", "admin"]
"""What a key may be used for. ``admin`` is for the operator: keys, other tenants' data, metrics."""

ALL_SCOPES: Final[frozenset[Scope]] = frozenset(get_args(Scope))

CALLER_KEY: Final = "manymodal.caller"
"""Where an ASGI scope carries its ``Caller``. Set by the gateway only: headers cannot reach it. A part of the
gateway that sends requests to its own application on a tenant's behalf (batches) sets it before.
"""


@dataclass(frozen=True, slots=True)
class Caller:
    """One request's identity. ``key_id`` is a key's public id; ``None`` for open access and work of the gateway's
    own (``internal``), which has been admitted and counted as whole before.
    """

    tenant: str
    scopes: frozenset[Scope] = ALL_SCOPES
    key_id: str | None = None
    internal: bool = False
