"""Reading CTranslate2's ``model.bin``, and Whisper's weights in it under OpenAI's names.

The layout is written by ``ctranslate2.specs.model_spec.ModelSpec._serialize`` (binary version 6), little-endian:
version u32, name, revision u32, count u32, then per variable its name, rank u8, sizes u32, type u8, bytes u32 and
the numbers; aliases follow. A name is its length with the final zero (u16), its bytes, the zero.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from encoders.errors import ModelUnavailable

__all__ = ["openai_whisper", "read_weights"]

_VERSION = 6
_TYPES: tuple[Any, ...] = (np.float32, np.int8, np.int16, np.int32, np.float16)


def read_weights(path: Path) -> dict[str, NDArray[Any]]:
    """All variables of a ``model.bin`` by CTranslate2's names. Raises ``ModelUnavailable`` for another format."""
    with path.open("rb") as file:
        size_bytes = path.stat().st_size
        try:
            (version,) = _numbers(file, "I")
            _name(file), _numbers(file, "I")
            if version != _VERSION:
                raise ModelUnavailable(
                    f"The weights are in CTranslate2's format {version}, of which only {_VERSION} is known here."
                )
            (count,) = _numbers(file, "I")
            return dict(_variable(file, size_bytes) for _ in range(count))
        except (struct.error, ValueError, IndexError, UnicodeDecodeError):
            raise ModelUnavailable(
                "The weights are damaged: they do not follow CTranslate2's format; prepare the model anew."
            ) from None


def _numbers(file: BinaryIO, form: str) -> tuple[Any, ...]:
    packed = struct.Struct("<" + form)
    return packed.unpack(file.read(packed.size))


def _name(file: BinaryIO) -> str:
    (length,) = _numbers(file, "H")
    return file.read(length)[:-1].decode("utf-8")


def _variable(file: BinaryIO, size_bytes: int) -> tuple[str, NDArray[Any]]:
    name = _name(file)
    (rank,) = _numbers(file, "B")
    shape = _numbers(file, "I" * rank)
    kind, length = _numbers(file, "BI")
    if length > size_bytes:
        raise ValueError(length)
    return name, np.frombuffer(file.read(length), dtype=_TYPES[kind]).reshape(shape)


def openai_whisper(found: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Whisper's weights as ``whisper.model.Whisper`` names them, each checked to be floating point.

    CTranslate2 keeps query, key and value of an attention in one matrix, with a zero bias for the keys, of which
    Whisper has none. The encoder's positions are sinusoids that OpenAI's code makes itself; they are taken along,
    as its checkpoints do. Raises ``ModelUnavailable`` when the weights are quantised or not Whisper's.
    """
    named: dict[str, NDArray[Any]] = {}
    try:
        for conv in ("conv1", "conv2"):
            for kind in ("weight", "bias"):
                named[f"encoder.{conv}.{kind}"] = found[f"encoder/{conv}/{kind}"]
        named["encoder.positional_embedding"] = found["encoder/position_encodings/encodings"]
        named["decoder.positional_embedding"] = found["decoder/position_encodings/encodings"]
        named["decoder.token_embedding.weight"] = found["decoder/embeddings/weight"]
        named |= _norm(found, "encoder/layer_norm", "encoder.ln_post")
        named |= _norm(found, "decoder/layer_norm", "decoder.ln")
        for side in ("encoder", "decoder"):
            index = 0
            while f"{side}/layer_{index}/ffn/linear_0/weight" in found:
                named |= _block(found, f"{side}/layer_{index}", f"{side}.blocks.{index}", side == "decoder")
                index += 1
    except KeyError:
        raise ModelUnavailable("These are not the weights of a Whisper model.") from None
    if any(array.dtype not in (np.float16, np.float32) for array in named.values()):
        raise ModelUnavailable("These weights are quantised; OpenAI's Whisper needs float16 or float32 ones.")
    return named


def _block(
    found: Mapping[str, NDArray[Any]], source: str, target: str, crosses: bool
) -> dict[str, NDArray[Any]]:
    named = {
        **_norm(found, f"{source}/self_attention/layer_norm", f"{target}.attn_ln"),
        **_norm(found, f"{source}/ffn/layer_norm", f"{target}.mlp_ln"),
        **_linear(found, f"{source}/ffn/linear_0", f"{target}.mlp.0"),
        **_linear(found, f"{source}/ffn/linear_1", f"{target}.mlp.2"),
        **_linear(found, f"{source}/self_attention/linear_1", f"{target}.attn.out"),
    }
    weights = np.split(found[f"{source}/self_attention/linear_0/weight"], 3)
    biases = np.split(found[f"{source}/self_attention/linear_0/bias"], 3)
    named |= _projections(f"{target}.attn", weights, biases)
    if crosses:
        named |= _norm(found, f"{source}/attention/layer_norm", f"{target}.cross_attn_ln")
        named |= _linear(found, f"{source}/attention/linear_2", f"{target}.cross_attn.out")
        query = found[f"{source}/attention/linear_0/weight"], found[f"{source}/attention/linear_0/bias"]
        weights = [query[0], *np.split(found[f"{source}/attention/linear_1/weight"], 2)]
        biases = [query[1], *np.split(found[f"{source}/attention/linear_1/bias"], 2)]
        named |= _projections(f"{target}.cross_attn", weights, biases)
    return named


def _projections(
    target: str, weights: list[NDArray[Any]], biases: list[NDArray[Any]]
) -> dict[str, NDArray[Any]]:
    if biases[1].any():
        raise ModelUnavailable("These are not the weights of a Whisper model: its keys have no bias.")
    parts = zip(("query", "key", "value"), weights, biases, strict=True)
    return {
        f"{target}.{part}.{kind}": array
        for part, weight, bias in parts
        for kind, array in (("weight", weight), ("bias", bias))
        if (part, kind) != ("key", "bias")
    }


def _linear(found: Mapping[str, NDArray[Any]], source: str, target: str) -> dict[str, NDArray[Any]]:
    return {f"{target}.{kind}": found[f"{source}/{kind}"] for kind in ("weight", "bias")}


def _norm(found: Mapping[str, NDArray[Any]], source: str, target: str) -> dict[str, NDArray[Any]]:
    return {f"{target}.weight": found[f"{source}/gamma"], f"{target}.bias": found[f"{source}/beta"]}
