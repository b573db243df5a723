"""``metadata``, as all of OpenAI's requests have it: what a client notes down for itself."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, StrictStr

__all__ = ["Metadata"]

Metadata = Annotated[
    dict[Annotated[StrictStr, Field(max_length=64)], Annotated[StrictStr, Field(max_length=512)]],
    Field(max_length=16),
]
"""At most 16 pairs of a key of up to 64 characters and a value of up to 512."""
