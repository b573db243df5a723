"""What a verification finds and says."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

__all__ = ["Finding", "Progress", "VerifyReport"]

Progress: TypeAlias = Callable[[str, int], None]
"""Is told what is being walked and how many were seen."""


@dataclass(frozen=True, slots=True)
class Finding:
    """Something wrong: what, where, and what was done about it. ``repaired`` is false if it is still wrong."""

    kind: str
    key: str
    action: str
    repaired: bool


@dataclass(frozen=True, slots=True)
class VerifyReport:
    """What was found; of very many findings only the first are kept, all are counted.

    ``counts`` says how many objects of each sort were walked, ``found`` how many findings there were of each kind.
    """

    findings: tuple[Finding, ...]
    counts: Mapping[str, int]
    found: Mapping[str, int]
    unrepaired: int

    @property
    def clean(self) -> bool:
        """Whether nothing is left that is wrong."""
        return not self.unrepaired
