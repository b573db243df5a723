"""What ``manymodal doctor`` finds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["Finding"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing looked at: what, how it stands, the facts, and what to do when it is not well."""

    what: str
    state: Literal["ok", "warning", "missing"]
    facts: str
    advice: str = ""
