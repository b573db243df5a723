"""Wire schema of ``/v1/models``."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel

__all__ = ["Model", "ModelList"]


class Model(BaseModel):
    """A served model; ``manymodal`` says what it is for."""

    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: str = "manymodal"
    shutdown_date: str | None = None
    manymodal: dict[str, Any]


class ModelList(BaseModel):
    """All served models, chat model first."""

    object: Literal["list"] = "list"
    data: list[Model]
