"""Settings of the decoder's low-rank adapters: many fine-tuned models on one decoder's weights."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from encoders.errors import ModelUnavailable

__all__ = ["AdapterSettings"]

_NAME = r"^[A-Za-z0-9][A-Za-z0-9._/-]{0,127}$"


class AdapterSettings(BaseModel):
    """Low-rank adapters (LoRA) of the decoder, as PEFT writes them.

    ``folders`` are by the name that clients ask for; a relative one lies below the models' folder. ``at_once`` is
    of how many each replica makes answers together: the next one takes the place of the one not asked for longest.
    ``max_rank`` must be no less than any adapter's; memory is set aside for it.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    folders: dict[Annotated[str, StringConstraints(pattern=_NAME)], Path] = Field(default_factory=dict)
    at_once: int = Field(default=4, gt=0, le=256)
    max_rank: Literal[8, 16, 32, 64, 128, 256, 320, 512] = 16

    def found(self, models_dir: Path) -> dict[str, Path]:
        """The folders, each looked into. Raises ``ModelUnavailable`` for one that is no adapter, would be loaded by
        unpickling it, or is too large.
        """
        return {name: self._checked(name, models_dir / folder) for name, folder in self.folders.items()}

    def _checked(self, name: str, folder: Path) -> Path:
        try:
            facts = json.loads((folder / "adapter_config.json").read_text("utf-8"))
            rank = int(facts["r"])
        except (OSError, ValueError, KeyError, TypeError):
            raise ModelUnavailable(
                f"The adapter '{name}' cannot be read: its folder needs an adapter_config.json as PEFT writes it. "
                "Check chat.adapters.folders."
            ) from None
        if not (folder / "adapter_model.safetensors").is_file():
            raise ModelUnavailable(
                f"The adapter '{name}' has no adapter_model.safetensors. Other forms are not loaded, since reading "
                "them may run code; save it with PEFT's save_pretrained."
            )
        if rank > self.max_rank:
            raise ModelUnavailable(
                f"The adapter '{name}' has rank {rank}; chat.adapters.max_rank is {self.max_rank}. Set it to as "
                "much or more."
            )
        return folder
