"""How the API is reached."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["AccessConfig", "AccessMode"]

AccessMode = Literal["open", "auto", "keys"]
"""``open``: no key is asked for. ``keys``: always. ``auto``: as soon as the store holds one, be it revoked."""


@dataclass(frozen=True, slots=True)
class AccessConfig:
    """Whether keys are needed, and how old what a gateway knows of them may be.

    What was read within ``fresh_seconds`` is used as it is. Until ``stale_seconds`` it is still used while it is
    read anew; after that a request waits, at most ``wait_seconds``, and is refused when the store does not answer.
    So a revocation is seen everywhere after ``stale_seconds``.
    """

    mode: AccessMode = "open"
    fresh_seconds: float = 2.0
    stale_seconds: float = 4.0
    wait_seconds: float = 10.0
