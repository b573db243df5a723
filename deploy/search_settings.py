"""The settings of search: on how many threads, and what collections are made with that do not say it themselves."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from search.config import SearchConfig
from search.types import IndexKind, IndexSpec, VectorStorage

__all__ = ["SearchSettings"]

_DEFAULTS = SearchConfig(Path())


class SearchSettings(BaseModel):
    """How collections are searched that do not say it themselves. What the fields mean stands in
    ``search.types.IndexSpec`` and ``search.config.SearchConfig``. ``threads`` 0 means as many as the encoders'.
    ``gate_file`` are weights for items of several parts (``fusion.vector_gate``).
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    threads: int = Field(default=0, ge=0)
    index: IndexKind = "auto"
    storage: VectorStorage = "float32"
    dimensions: int | None = Field(default=None, gt=0)
    flat_rows: int = Field(default=_DEFAULTS.flat_rows, ge=0)
    pq_rows: int = Field(default=_DEFAULTS.pq_rows, ge=0)
    gate_file: Path | None = None

    def spec(self) -> IndexSpec:
        """The same as search takes it."""
        return IndexSpec(self.index, self.storage, self.dimensions)
