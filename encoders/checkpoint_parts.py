"""One part of a large checkpoint: the tensors under a prefix, read without the rest, into a module that is all
theirs.

transformers loads a part of a model from the whole's folder without an error and leaves it with random weights,
because no name matches. Here every name and shape must match, in both directions. Weights are read from
safetensors only; a module is built without memory of its own and takes the tensors that were read.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from encoders.errors import ModelUnavailable

if TYPE_CHECKING:
    import torch

__all__ = ["load_part", "part_parameters", "read_header", "read_part", "shards", "take_weights"]

_Module = TypeVar("_Module")

_MAX_HEADER_BYTES = 100_000_000  # safetensors' own limit
_INDEX, _WHOLE = "model.safetensors.index.json", "model.safetensors"


def shards(directory: Path, prefix: str) -> dict[str, list[str]]:
    """The names of the checkpoint's tensors that begin with ``prefix``, by the file that holds them.

    Raises ``ModelUnavailable`` when there is no such tensor or the files cannot be read.
    """
    found: dict[str, list[str]] = {}
    try:
        for name, file in _places(directory):
            if name.startswith(prefix):
                found.setdefault(file, []).append(name)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise _unreadable(directory) from None
    if not found:
        raise ModelUnavailable(
            f"The checkpoint '{directory.name}' has no weights whose names begin with '{prefix}'; it is not what "
            "its config.json says. Fetch it again."
        )
    return found


def read_part(directory: Path, prefix: str) -> dict[str, torch.Tensor]:
    """The tensors under ``prefix``, named without it. Raises ``ModelUnavailable`` as ``shards`` does."""
    from safetensors import SafetensorError, safe_open

    tensors: dict[str, torch.Tensor] = {}
    try:
        for file, names in shards(directory, prefix).items():
            with safe_open(directory / file, framework="pt") as opened:
                for name in names:
                    tensors[name[len(prefix) :]] = opened.get_tensor(name)
    except (OSError, SafetensorError):
        raise _unreadable(directory) from None
    return tensors


def load_part(directory: Path, prefix: str, build: Callable[[], _Module]) -> _Module:
    """The module that ``build`` gives, with the weights under ``prefix`` (which ends with its dot).

    Raises ``ModelUnavailable`` when one weight is missing, over, or of another shape.
    """
    return take_weights(build, read_part(directory, prefix), directory.name)


def take_weights(build: Callable[[], _Module], tensors: dict[str, torch.Tensor], whose: str) -> _Module:
    """The module that ``build`` gives, made without memory, with exactly ``tensors`` for weights.

    Raises ``ModelUnavailable``, naming the checkpoint ``whose``, when they do not fit.
    """
    import torch

    try:
        with torch.device("meta"):
            module: Any = build()
    except Exception as error:  # transformers checks settings with errors of many bases
        raise ModelUnavailable(
            f"The checkpoint '{whose}' has settings that make no sense; fetch it again."
        ) from error
    try:
        module.load_state_dict(tensors, strict=True, assign=True)
    except (RuntimeError, TypeError, AttributeError) as error:
        raise ModelUnavailable(
            f"The checkpoint '{whose}' lacks weights that its settings ask for, has others, or has them in another "
            "shape; fetch it again."
        ) from error
    if any(one.is_meta for one in (*module.parameters(), *module.buffers())):
        raise ModelUnavailable(f"The checkpoint '{whose}' does not hold all that its model is made of.")
    made: _Module = module
    return made


def part_parameters(directory: Path, prefix: str) -> int:
    """How many numbers the tensors under ``prefix`` have, from the files' headers. Raises ``ModelUnavailable``."""
    total = 0
    try:
        for file, names in shards(directory, prefix).items():
            header = read_header(directory / file)
            total += sum(math.prod(header[name]["shape"]) for name in names)
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        raise _unreadable(directory) from None
    return total


def read_header(path: Path) -> dict[str, Any]:
    """A safetensors file's header: eight bytes of length, then JSON with every tensor's shape.

    Raises ``OSError`` or ``ValueError`` for what is no such file.
    """
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if length > _MAX_HEADER_BYTES:
            raise ValueError("no safetensors file")
        header = json.loads(file.read(length))
    if not isinstance(header, dict):
        raise ValueError("no safetensors file")
    return header


def _places(directory: Path) -> Iterator[tuple[str, str]]:
    """Every tensor's name with its file's."""
    if not (directory / _INDEX).is_file():
        for name in read_header(directory / _WHOLE):
            if name != "__metadata__":
                yield name, _WHOLE
        return
    for name, file in json.loads((directory / _INDEX).read_text(encoding="utf-8"))["weight_map"].items():
        if file != Path(file).name or not file.endswith(".safetensors"):
            raise ValueError("a shard outside the folder, or of another format")
        yield name, file


def _unreadable(directory: Path) -> ModelUnavailable:
    return ModelUnavailable(
        f"The weights of the checkpoint '{directory.name}' cannot be read; they are missing, damaged, or not "
        "safetensors. Fetch it again."
    )
