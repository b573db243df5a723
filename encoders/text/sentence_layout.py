"""Reading how a folder of sentence-transformers wants its texts: modules, pooling, prompts, lengths.

``modules.json`` lists the modules in order: the transformer, a pooling, perhaps dense layers, perhaps a
normalisation. What cannot be followed exactly is refused: a wrong pooling gives vectors that look right.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from encoders.errors import ModelUnavailable
from encoders.text.token_pooling import POOLINGS

__all__ = ["DenseLayer", "SentenceLayout", "read_layout"]

_OLD_FLAGS = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_lasttoken": "lasttoken",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
}
_ACTIVATIONS = {"Identity": "identity", "Tanh": "tanh"}


@dataclass(frozen=True, slots=True)
class DenseLayer:
    """A linear layer after pooling: its safetensors file, its activation (``identity``, ``tanh``), its width."""

    weights: Path
    activation: str
    dimensions: int


@dataclass(frozen=True, slots=True)
class SentenceLayout:
    """``pooling`` is a name of ``token_pooling.POOLINGS``. ``max_tokens`` is ``None`` where the folder leaves it to
    the tokeniser and the network. ``prompts`` are instructions by name; the ``default_prompt`` is put before texts
    without another.
    """

    pooling: str
    max_tokens: int | None = None
    lower_case: bool = False
    prompts: Mapping[str, str] = field(default_factory=dict)
    default_prompt: str | None = None
    dense: tuple[DenseLayer, ...] = ()


def read_layout(directory: Path) -> SentenceLayout | None:
    """The layout of a folder; ``None`` when it is none of sentence-transformers.

    Raises ``ModelUnavailable`` when the folder has parts that cannot be followed.
    """
    modules = _json(directory / "modules.json")
    if not isinstance(modules, list) or not modules:
        return None
    pooling: str | None = None
    dense: list[DenseLayer] = []
    for index, module in enumerate(modules):
        kind = str(module.get("type", "")).rpartition(".")[2]
        folder = directory / str(module.get("path", ""))
        if not folder.resolve().is_relative_to(directory.resolve()):
            raise _refused(directory, "a module outside of its folder")
        if index == 0 and kind == "Transformer":
            if folder.resolve() != directory.resolve() and folder.name != "0_Transformer":
                raise _refused(directory, "its transformer in another folder")
        elif kind == "Pooling" and pooling is None and index == 1:
            pooling = _pooling(directory, _object(folder / "config.json"))
        elif kind == "Dense" and pooling is not None:
            dense.append(_dense(directory, folder))
        elif kind != "Normalize" or index != len(modules) - 1:
            raise _refused(directory, f"a module '{kind}' in place {index}")
    if pooling is None:
        raise _refused(directory, "no pooling")
    lengths = _object(directory / "sentence_bert_config.json")
    general = _object(directory / "config_sentence_transformers.json")
    prompts = general.get("prompts") or {}
    most = lengths.get("max_seq_length")
    return SentenceLayout(
        pooling=pooling,
        max_tokens=int(most) if most else None,
        lower_case=bool(lengths.get("do_lower_case", False)),
        prompts={str(name): str(text) for name, text in prompts.items()},
        default_prompt=general.get("default_prompt_name"),
        dense=tuple(dense),
    )


def _pooling(directory: Path, facts: Mapping[str, Any]) -> str:
    named = facts.get("pooling_mode")  # from sentence-transformers 5 on
    modes = [named] if isinstance(named, str) else list(named or ())
    modes = modes or [mode for flag, mode in _OLD_FLAGS.items() if facts.get(flag)]
    if facts.get("include_prompt", True) is not True:
        raise _refused(directory, "a pooling that leaves out the prompt's tokens")
    if len(modes) != 1 or modes[0] not in POOLINGS:
        raise _refused(directory, f"the pooling '{'+'.join(map(str, modes)) or 'none'}'")
    return str(modes[0])


def _dense(directory: Path, folder: Path) -> DenseLayer:
    facts = _object(folder / "config.json")
    activation = _ACTIVATIONS.get(str(facts.get("activation_function", "Identity")).rpartition(".")[2])
    weights = folder / "model.safetensors"
    if activation is None or not weights.is_file():
        raise _refused(directory, "a dense layer without safetensors, or with another activation than tanh")
    return DenseLayer(weights, activation, int(facts["out_features"]))


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def _object(path: Path) -> dict[str, Any]:
    found = _json(path)
    return found if isinstance(found, dict) else {}


def _refused(directory: Path, what: str) -> ModelUnavailable:
    return ModelUnavailable(
        f"The sentence encoder '{directory.name}' has {what}, which is not supported; supported are a transformer, "
        f"one pooling ({', '.join(POOLINGS)}), dense layers and a normalisation."
    )
