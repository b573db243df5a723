"""Reading a transformers checkpoint from a local folder: safetensors only, no code from the folder, no gaps."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from encoders.checkpoint_parts import read_header
from encoders.errors import ModelUnavailable
from encoders.torch_device import Placement
from encoders.types import ModelSpec
from encoders.weights import content_revision

__all__ = [
    "HUB_PATTERNS",
    "UNPINNED",
    "VisionFamily",
    "load_network",
    "load_tokenizer",
    "loaded_bytes",
    "own_loaded_bytes",
    "read_facts",
]

HUB_PATTERNS = (
    "config.json",
    "preprocessor_config.json",
    "processor_config.json",
    "model*.safetensors",
    "model.safetensors.index.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "vocab.json",
    "merges.txt",
    "spiece.model",
)
"""What is fetched of a hub repository: not the same weights in other formats beside them."""

UNPINNED = "unpinned"
"""Revision of listed checkpoints that are not here yet; ``registry.find`` puts the bytes' own in its place."""


@dataclass(frozen=True, slots=True)
class VisionFamily:
    """What the specs of all sizes of a family say alike. ``extra`` goes into each beside its own space."""

    modalities: tuple[str, ...]
    preprocessing: str
    extra: Mapping[str, Any] = field(default_factory=dict)

    def listed(self, name: str, hub_id: str, licence: str, dimensions: int, parameters: int) -> ModelSpec:
        """A size that the hub holds."""
        return self._spec(name, dimensions, licence, UNPINNED, loaded_bytes(parameters), hub_id)

    def adopted(self, name: str, directory: Path, dimensions: int) -> ModelSpec:
        """A checkpoint of the user's own."""
        revision, memory_bytes = content_revision(directory), own_loaded_bytes(directory)
        return self._spec(name, dimensions, "unknown", revision, memory_bytes, None)

    def _spec(
        self, name: str, dimensions: int, licence: str, revision: str, memory_bytes: int, hub_id: str | None
    ) -> ModelSpec:
        return ModelSpec(
            name=name,
            task="vision",
            modalities=self.modalities,
            dimensions=dimensions,
            licence=licence,
            revision=revision,
            preprocessing=self.preprocessing,
            hub_id=hub_id,
            memory_bytes=memory_bytes,
            extra={"space": name, "hub_patterns": HUB_PATTERNS, **self.extra},
        )


def load_network(directory: Path, class_name: str, placement: Placement, **options: Any) -> Any:
    """A transformers model of class ``class_name``, placed, with scaled-dot-product attention.

    Raises ``ModelUnavailable`` when weights are missing or of another shape: transformers would only warn, and go
    on with random ones.
    """
    import transformers
    from safetensors import SafetensorError

    try:
        network, found = getattr(transformers, class_name).from_pretrained(
            directory,
            local_files_only=True,
            use_safetensors=True,
            trust_remote_code=False,
            attn_implementation="sdpa",
            dtype=placement.torch_dtype,
            output_loading_info=True,
            **options,
        )
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        raise ModelUnavailable(
            f"The checkpoint '{directory.name}' cannot be loaded; it needs a config.json of its family and its "
            "weights as safetensors. Fetch it again."
        ) from error
    if found["missing_keys"] or found["mismatched_keys"]:
        raise ModelUnavailable(
            f"The checkpoint '{directory.name}' lacks weights that its config.json asks for, or has them "
            "in another shape; fetch it again."
        )
    return placement.place(network)


def read_facts(directory: Path) -> dict[str, Any]:
    """The checkpoint's ``config.json``. Raises ``ModelUnavailable`` when it cannot be read."""
    try:
        facts = json.loads((directory / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        facts = None
    if not isinstance(facts, dict):
        raise ModelUnavailable(
            f"The checkpoint '{directory.name}' has no readable config.json; fetch it again."
        )
    return facts


def load_tokenizer(directory: Path) -> Any:
    """The checkpoint's tokenizer as transformers makes it (lower case, punctuation, padding side are its own)."""
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(directory, local_files_only=True, trust_remote_code=False)
    except (OSError, ValueError, KeyError) as error:
        raise ModelUnavailable(
            f"The tokenizer of '{directory.name}' cannot be loaded; fetch the checkpoint again."
        ) from error


def loaded_bytes(parameters: int) -> int:
    """What a model of that many parameters takes at most on the CPU: float32 weights and a third over for loading
    them, and a batch at work.
    """
    return int(parameters * 4 * 1.3) + (512 << 20)


def own_loaded_bytes(directory: Path) -> int:
    """``loaded_bytes`` of the checkpoint in a folder, from the headers of its safetensors files."""
    return loaded_bytes(sum(_parameters(path) for path in directory.glob("*.safetensors")))


def _parameters(path: Path) -> int:
    """How many numbers a safetensors file holds, by its header."""
    try:
        header = read_header(path)
        return sum(math.prod(facts["shape"]) for name, facts in header.items() if name != "__metadata__")
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        raise ModelUnavailable(f"'{path.name}' is no safetensors file; fetch the checkpoint again.") from None
