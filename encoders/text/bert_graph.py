"""A BERT encoder as an ONNX graph made for short texts on a CPU: no padding, int8 without depending on the batch.

*No padding.* The tokens of a batch lie end to end as ``(tokens, width)``. Everything but attention is computed on
those rows; only around attention are they gathered into ``(texts, longest)`` and back. Texts of mixed lengths share
a batch without a wasted multiplication.

*int8.* Activations are quantised by row, that is by token, and weights by output channel. onnxruntime's own dynamic
quantisation takes one range for the whole batch, so that a text's vector depends on what it is batched with (seen:
components off by 0.025); with a range per token the integers, and so the vectors, are the same in any company.
Weights take 7 bits: without VNNI, AVX2 adds pairs of products in 16 bits, which 8 bits overflow. GELU is never
below -0.17, so shifted by that it uses all 8 bits of the unsigned activations. The projection to queries, keys and
values stays float32: it alone makes half of the loss (mean cosine to float32 0.9965 with it in int8, 0.9983
without).

*Plain LayerNormalization.* onnxruntime's fused SkipLayerNormalization is eight times slower than Add and
LayerNormalization (1150 and 144 microseconds for 700 x 384, onnxruntime 1.31); sessions must be opened with
``ORT_ENABLE_BASIC`` (``open_session``), or it fuses them again.

The graph is written node by node with ``onnx.helper``: small, the same bytes every time, no exporter in between.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["bert_graph", "open_session", "packed_inputs"]

Weights = Mapping[str, NDArray[Any]]

_MICROSOFT = "com.microsoft"  # onnxruntime's own operators
_GELU_LEAST = 0.16997121  # -min of x * Phi(x)
_WEIGHT_LEVELS = 63  # 255 * 63 * 2 fits 16 bits
_OPSET, _IR_VERSION = 18, 10


def bert_graph(weights: Weights, heads: int, *, int8: bool) -> bytes:
    """The serialised graph of a BERT with these weights (transformers' names), all layers that they hold.

    Inputs are those of ``packed_inputs``; the output ``hidden`` is the last layer, float32 ``(tokens, width)``.
    """
    from onnx import TensorProto, helper

    graph = _Graph(int8)
    hidden = _embedded(graph, weights)
    layers = 1 + max(int(name.split(".")[2]) for name in weights if name.startswith("encoder.layer."))
    for index in range(layers):
        hidden = _layer(graph, weights, f"encoder.layer.{index}", hidden, heads)
    graph.nodes.append(helper.make_node("Identity", [hidden], ["hidden"]))
    shapes: dict[str, list[str]] = {
        "ids": ["tokens"],
        "positions": ["tokens"],
        "padded": ["texts", "longest"],
        "packed": ["tokens"],
        "lengths": ["texts"],
    }
    inputs = [helper.make_tensor_value_info(name, TensorProto.INT32, shape) for name, shape in shapes.items()]
    output = helper.make_tensor_value_info("hidden", TensorProto.FLOAT, ["tokens", None])
    made = helper.make_graph(graph.nodes, "bert", inputs, [output], graph.constants)
    opsets = [helper.make_opsetid("", _OPSET), helper.make_opsetid(_MICROSOFT, 1)]
    model = helper.make_model(made, opset_imports=opsets, ir_version=_IR_VERSION, producer_name="manymodal")
    serialised: bytes = model.SerializeToString(deterministic=True)
    return serialised


def open_session(graph: bytes | Path) -> Any:
    """An onnxruntime session of one thread: callers run several batches side by side instead, which needs no
    waiting for each other within a layer. ``run`` may be called from several threads.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    source = str(graph) if isinstance(graph, Path) else graph
    return onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])


def packed_inputs(texts: Sequence[NDArray[np.int32]]) -> dict[str, NDArray[np.int32]]:
    """The graph's inputs for token ids of at least one text, each of at least one token.

    ``padded`` says for each place in ``(texts, longest)`` which row lies there (places of padding repeat a text's
    last token; attention does not look there), ``packed`` where each row lies in it.
    """
    lengths = np.array([len(ids) for ids in texts], dtype=np.int32)
    longest = int(lengths.max())
    starts = np.cumsum(lengths, dtype=np.int32) - lengths
    rows = np.repeat(np.arange(len(texts), dtype=np.int32), lengths)
    positions = np.arange(len(rows), dtype=np.int32) - starts[rows]
    columns = np.minimum(np.arange(longest, dtype=np.int32), lengths[:, None] - 1)
    return {
        "ids": np.concatenate(texts),
        "positions": positions,
        "padded": starts[:, None] + columns,
        "packed": rows * longest + positions,
        "lengths": lengths,
    }


class _Graph:
    """Nodes and constants in the order they are made."""

    def __init__(self, int8: bool) -> None:
        self.nodes: list[Any] = []
        self.constants: list[Any] = []
        self.int8 = int8
        self._shared: dict[str, str] = {}

    def constant(self, values: Any) -> str:
        """A new constant's name."""
        from onnx import numpy_helper

        name = f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(values), name))
        return name

    def shared(self, key: str, values: Any) -> str:
        """A constant that several nodes use."""
        if key not in self._shared:
            self._shared[key] = self.constant(values)
        return self._shared[key]

    def node(self, operator: str, inputs: Sequence[str], domain: str = "", **attributes: Any) -> str:
        """A new node's output."""
        return self.split(operator, inputs, 1, domain, **attributes)[0]

    def split(
        self, operator: str, inputs: Sequence[str], outputs: int, domain: str = "", **attributes: Any
    ) -> list[str]:
        """A new node's outputs."""
        from onnx import helper

        names = [f"n{len(self.nodes)}.{index}" for index in range(outputs)]
        self.nodes.append(helper.make_node(operator, inputs, names, names[0], domain=domain, **attributes))
        return names

    def linear(self, rows: str, weight: NDArray[Any], bias: NDArray[Any]) -> str:
        """``rows @ weight.T + bias`` in float32; weights ``(out, in)`` as torch keeps them."""
        return self.node("Gemm", [rows, self.constant(weight.T), self.constant(bias)])

    def linear_int8(
        self, rows: str, weight: NDArray[Any], bias: NDArray[Any], least: float | None = None
    ) -> str:
        """The same in int8 where this graph is int8; ``least`` is a bound that no value of ``rows`` is below."""
        if not self.int8:
            return self.linear(rows, weight, bias)
        axis = self.shared("last axis", np.array([-1]))
        one = self.shared("one", np.float32(1))
        scales = np.maximum(np.abs(weight).max(axis=1) / _WEIGHT_LEVELS, 1e-12).astype(np.float32)
        levels = np.clip(np.rint(weight / scales[:, None]), -_WEIGHT_LEVELS, _WEIGHT_LEVELS).astype(np.int8)
        if least is None:  # symmetric around 128
            zero = self.shared("128", np.uint8(128))
            largest = self.node("ReduceMax", [self.node("Abs", [rows]), axis], keepdims=1)
            step = self.node("Mul", [largest, self.shared("1/127", np.float32(1 / 127))])
        else:  # from 0 on, and what was added is taken away again by the bias
            zero = self.shared("0", np.uint8(0))
            rows = self.node("Add", [rows, self.constant(np.float32(-least))])
            largest = self.node("ReduceMax", [rows, axis], keepdims=1)
            step = self.node("Mul", [largest, self.shared("1/255", np.float32(1 / 255))])
            bias = bias + least * (levels.astype(np.float32) * scales[:, None]).sum(axis=1)
        step = self.node("Max", [step, self.shared("tiny", np.float32(1e-30))])  # a row of zeros
        quantised = self.node("QuantizeLinear", [self.node("Div", [rows, step]), one, zero])
        product = self.node(
            "MatMulIntegerToFloat",
            [
                quantised,
                self.constant(levels.T),
                one,
                self.constant(scales),
                zero,
                self.shared(f"zeros {len(bias)}", np.zeros(len(bias), np.int8)),
            ],
            _MICROSOFT,
        )
        return self.node("Add", [self.node("Mul", [product, step]), self.constant(bias.astype(np.float32))])

    def normalised(self, left: str, right: str, weights: Weights, name: str) -> str:
        """LayerNorm of the sum."""
        scale, shift = (self.constant(weights[f"{name}.LayerNorm.{kind}"]) for kind in ("weight", "bias"))
        inputs = [self.node("Add", [left, right]), scale, shift]
        return self.node("LayerNormalization", inputs, axis=-1, epsilon=1e-12)


def _embedded(graph: _Graph, weights: Weights) -> str:
    words = graph.constant(weights["embeddings.word_embeddings.weight"])
    # Every token is of the first sentence, so that embedding is added to all positions here.
    sentence = weights["embeddings.token_type_embeddings.weight"][0]
    places = graph.constant(weights["embeddings.position_embeddings.weight"] + sentence)
    return graph.normalised(
        graph.node("Gather", [words, "ids"]),
        graph.node("Gather", [places, "positions"]),
        weights,
        "embeddings",
    )


def _layer(graph: _Graph, weights: Weights, layer: str, hidden: str, heads: int) -> str:
    """One post-norm transformer layer (Devlin et al. 2019)."""

    def of(name: str) -> tuple[NDArray[Any], NDArray[Any]]:
        return weights[f"{layer}.{name}.weight"], weights[f"{layer}.{name}.bias"]

    parts = [of(f"attention.self.{part}") for part in ("query", "key", "value")]
    width = len(parts[0][1])
    rows = graph.linear(hidden, np.concatenate([w for w, _ in parts]), np.concatenate([b for _, b in parts]))
    padded = graph.node("Gather", [rows, "padded"])
    sizes = graph.shared("thirds", np.array([width] * 3))
    query, key, value = graph.split("Split", [padded, sizes], 3, axis=-1)
    seen = graph.node("MultiHeadAttention", [query, key, value, "", "lengths"], _MICROSOFT, num_heads=heads)
    flat = graph.node("Reshape", [seen, graph.shared("flat", np.array([-1, width]))])
    context = graph.node("Gather", [flat, "packed"])
    attended = graph.linear_int8(context, *of("attention.output.dense"))
    hidden = graph.normalised(attended, hidden, weights, f"{layer}.attention.output")
    inner = graph.node("Gelu", [graph.linear_int8(hidden, *of("intermediate.dense"))], _MICROSOFT)
    outer = graph.linear_int8(inner, *of("output.dense"), least=-_GELU_LEAST)
    return graph.normalised(outer, hidden, weights, f"{layer}.output")
