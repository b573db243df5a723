"""Settings of search, built once in ``deploy`` and passed in."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

__all__ = ["SearchConfig"]


@dataclass(frozen=True, slots=True)
class SearchConfig:
    """Where the Lance tables lie and the size of vectors."""

    root: Path
    dimensions: int = 384
    threads: int = 2
