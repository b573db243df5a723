"""ToxBlock (GloVe words, bidirectional LSTM): six kinds of toxicity in English text, in about a millisecond.

Trained on the comments of Jigsaw's Toxic Comment challenge (2018), whose six labels it gives. Three mean what
OpenAI's categories mean and have their names: insult (``harassment``), threat (``harassment/threatening``) and
identity_hate (``hate``); ``toxic`` (the broadest and surest), ``severe_toxic`` and ``obscene`` keep their own.
Nothing is said of ``sexual``, ``violence``, ``self-harm`` or ``illicit``.

Held against 100 sentences written for it, 40 of them offensive (area under the ROC curve; right at 0.5):
this one's ``toxic`` 0.883, 77 %; toxic-comment-classifier 0.3.0 (the same network, no working threat) 0.885, 76 %;
alt-profanity-check 1.9.1 (linear, one number) 0.800, 71 %; hatesonar 0.1.0 (linear, needs the locale
en_US.UTF-8 to start) 0.727, 64 %.

What it is not: it knows words more than meaning. Of those sentences it finds all with swear words and all plain
insults, half of the threats and 60 % of the hatred without swear words, and it takes for toxic 60 % of the
denied or quoted insults ("You are not stupid"), 33 % of harmless strong words ("My back hurts like hell") and
20 % of neutral sentences about groups ("I am a gay man"): it must not decide alone. It knows 19,999 English words;
other languages and disguised spellings ("f*ck") score low because nothing is understood. Disguises of characters
are taken off first: what is not shown (zero-width spaces, soft hyphens), other forms of Latin letters, accents.

A text of more than 30 known words is read in windows of 30, every 15 words, and the highest probability of each
category counts. (The package's own code reads the last 100 words only.) Of 20 insults amid 320 harmless words,
30 words find 85 to 90 %, 100 words 25 to 55 %, and five harmless long texts stay at 0.30 or less.
Two cores, AVX2: 2 ms a text alone, 1 ms a window by 64.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections import OrderedDict, defaultdict
from collections.abc import Hashable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from encoders.config import EncoderConfig
from encoders.errors import ModelUnavailable
from encoders.moderation import ModerationScores
from encoders.types import ModelSpec
from encoders.weights import find_directory, verified_package_files

if TYPE_CHECKING:
    from encoders.registry import Progress

__all__ = ["SPEC", "ToxBlock", "load", "prepare"]

_FOLDER = "tox_block/trained_models"
_NETWORK, _ENCODER = "lstm_model_0.1.2.h5", "encoder_0.1.2.pkl"
_SHA256 = {
    _NETWORK: "587d40726f1250341a3661fac099e46582cf34cdd5136eb88a726bf6d62ec24e",
    _ENCODER: "f73db76ce4138c0a566cf91a84077ab66db1f5da40d795d2f751b5a157d91ce7",
}
_MODEL_FILE, _WORDS_FILE = "model.onnx", "words.json"

_LENGTH = 100  # words the network takes, filled up at the left
_WINDOW, _STEP = 30, 15  # words
_VOCABULARY = 20_000
_PASS = 64  # windows at once
_CATEGORIES = ("toxic", "severe_toxic", "obscene", "harassment/threatening", "harassment", "hate")

# As the tokeniser divides ASCII: all but letters, digits and apostrophes stands between words.
_WORD = re.compile(r"(?:[^\W_]|')+")
_UNSPOKEN = frozenset({"Cf", "Mn", "Me"})  # Unicode's categories of what is not shown, and of accents

SPEC = ModelSpec(
    name="tox-block",
    task="moderation",
    modalities=("text",),
    dimensions=None,
    licence="MIT",
    revision="587d4072",
    preprocessing="windows30-2",
    packages=("tox-block",),
    memory_bytes=128 << 20,
    extra={
        "files": (_MODEL_FILE, _WORDS_FILE),
        "categories": tuple(sorted(_CATEGORIES)),
        "languages": ("en",),
    },
)

_Windows = NDArray[np.int32]


def prepare(spec: ModelSpec, target_dir: Path, progress: Progress) -> None:
    """Write the network as ONNX and its words as JSON.

    The words come in a pickle. Its bytes are checked first, and even then nothing in it is carried out:
    dictionaries and numbers are read, the package's own two classes are replaced by an empty one, anything else is
    refused.
    """
    files = verified_package_files(
        spec.packages[0], _FOLDER, _SHA256, spec.name, lambda part, text: progress(0.2 * part, text)
    )
    progress(0.2, "reading the words")
    (target_dir / _WORDS_FILE).write_text(
        json.dumps(_words(files[_ENCODER]), ensure_ascii=False), encoding="utf-8"
    )
    progress(0.6, "converting the network to ONNX")
    _write_onnx(files[_NETWORK], target_dir / _MODEL_FILE)


class _Inert:
    """Stands for the classes of the pickle: holds what it is given and does nothing."""


def _words(encoder: Path) -> list[str]:
    """The words of the network in the order of their numbers, which begin at 1."""
    import pickle

    class Unpickler(pickle.Unpickler):
        def find_class(self, module_name: str, global_name: str, /) -> Any:
            known = {"OrderedDict": OrderedDict, "defaultdict": defaultdict, "int": int}
            if module_name in ("collections", "builtins") and global_name in known:
                return known[global_name]
            if global_name in ("TokenSequencer", "Tokenizer"):
                return _Inert
            raise ModelUnavailable("The tox-block words hold something unexpected; reinstall the package.")

    with encoder.open("rb") as file:
        tokenizer = Unpickler(file).load().tokenizer
    numbers: dict[str, int] = tokenizer.word_index
    return sorted((word for word in numbers if numbers[word] < _VOCABULARY), key=lambda word: numbers[word])


def _write_onnx(network: Path, path: Path) -> None:
    """The Keras network as an ONNX graph: words -> LSTM both ways -> highest value over time -> two layers."""
    import h5py
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    with h5py.File(network) as file:
        weights = file["model_weights"]

        def read(name: str) -> NDArray[np.float32]:
            return np.asarray(weights[name], dtype=np.float32)

        def gates(name: str) -> NDArray[np.float32]:
            """Both directions' weights ``(2, 4 * units, ...)``; Keras has the gates i f c o, ONNX i o f c."""
            both = []
            for direction in ("forward", "backward"):
                i, f, c, o = np.split(
                    read(f"bidirectional/bidirectional/{direction}_lstm/{name}:0"), 4, axis=-1
                )
                both.append(np.concatenate([i, o, f, c], axis=-1).T)
            return np.stack(both)

        bias = gates("bias")
        tensors = {
            "embeddings": read("embedding/embedding/embeddings:0"),
            "input_weights": gates("kernel"),
            "state_weights": gates("recurrent_kernel"),
            "biases": np.concatenate([bias, np.zeros_like(bias)], axis=1),
            "hidden_weights": read("dense/dense/kernel:0"),
            "hidden_bias": read("dense/dense/bias:0"),
            "output_weights": read("dense_1/dense_1/kernel:0"),
            "output_bias": read("dense_1/dense_1/bias:0"),
        }
    units = tensors["state_weights"].shape[-1]
    nodes = [
        helper.make_node("Gather", ["embeddings", "words"], ["embedded"]),
        helper.make_node("Transpose", ["embedded"], ["in_time"], perm=[1, 0, 2]),
        helper.make_node(
            "LSTM",
            ["in_time", "input_weights", "state_weights", "biases"],
            ["states"],
            direction="bidirectional",
            hidden_size=units,
            activations=["HardSigmoid", "Tanh", "Tanh"] * 2,
            activation_alpha=[0.2, 0.2],
            activation_beta=[0.5, 0.5],
        ),
        helper.make_node("ReduceMax", ["states", "time"], ["highest"], keepdims=0),  # (2, n, units)
        helper.make_node("Transpose", ["highest"], ["by_text"], perm=[1, 0, 2]),
        helper.make_node("Reshape", ["by_text", "flat"], ["pooled"]),
        helper.make_node("Gemm", ["pooled", "hidden_weights", "hidden_bias"], ["before_relu"]),
        helper.make_node("Relu", ["before_relu"], ["hidden"]),
        helper.make_node("Gemm", ["hidden", "output_weights", "output_bias"], ["logits"]),
        helper.make_node("Sigmoid", ["logits"], ["probabilities"]),
    ]
    constants = {"time": np.array([0], dtype=np.int64), "flat": np.array([-1, 2 * units], dtype=np.int64)}
    graph = helper.make_graph(
        nodes,
        "tox-block",
        [helper.make_tensor_value_info("words", TensorProto.INT32, ["n", _LENGTH])],
        [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["n", len(_CATEGORIES)])],
        [numpy_helper.from_array(value, name) for name, value in {**tensors, **constants}.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)])
    model.ir_version = 9
    onnx.checker.check_model(model)
    onnx.save(model, path)


def load(spec: ModelSpec, config: EncoderConfig) -> ToxBlock:
    """Load and warm up. Raises ``ModelUnavailable`` when the model is not prepared."""
    model = ToxBlock(find_directory(spec, config.models_dir), config.threads)
    model.moderate(["warm up"])
    return model


class ToxBlock:
    """The loaded classifier: a ``TextModerator``. Safe to call from several threads."""

    def __init__(self, directory: Path, threads: int = 2) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        self._session = onnxruntime.InferenceSession(
            str(directory / _MODEL_FILE), options, providers=["CPUExecutionProvider"]
        )
        words: list[str] = json.loads((directory / _WORDS_FILE).read_text(encoding="utf-8"))
        self._numbers = {word: number for number, word in enumerate(words, start=1)}

    def moderate(self, texts: Sequence[str]) -> tuple[ModerationScores, ...]:
        """Probabilities of texts of any lengths, order kept."""
        return tuple(self.run(self.prepare(texts)))

    def prepare(self, items: Sequence[str]) -> list[_Windows]:
        """The numbers of each text's known words, int32 ``(windows, 100)``, filled with 0 at the left."""
        return [self._windows(text) for text in items]

    def bucket(self, prepared: _Windows) -> Hashable:
        """All windows are of one length."""
        return int(prepared.shape[1])

    def cost(self, prepared: _Windows) -> int:
        """Words, with those that fill a window."""
        return int(prepared.size)

    def run(self, batch: Sequence[_Windows]) -> list[ModerationScores]:
        """See ``BatchEncoder``."""
        if not batch:
            return []
        windows = np.concatenate(batch)
        passes = range(0, len(windows), _PASS)
        probabilities = np.concatenate(
            [self._session.run(None, {"words": windows[start : start + _PASS]})[0] for start in passes]
        )
        ends = np.cumsum([len(text) for text in batch])
        return [
            ModerationScores.of(dict(zip(_CATEGORIES, text.max(axis=0).tolist(), strict=True)))
            for text in np.split(probabilities, ends[:-1])
        ]

    def _windows(self, text: str) -> _Windows:
        spelled = (word if word in self._numbers else word.strip("'") for word in _spelled(text))
        numbers = [self._numbers[word] for word in spelled if word in self._numbers]
        last = max(0, len(numbers) - _WINDOW)
        windows = np.zeros((-(-last // _STEP) + 1, _LENGTH), dtype=np.int32)
        for window, start in zip(windows, [*range(0, last, _STEP), last], strict=True):
            read = numbers[start : start + _WINDOW]
            window[_LENGTH - len(read) :] = read
        return windows


def _spelled(text: str) -> list[str]:
    """The words of a text in small letters, in plain ones where they only look different."""
    if not text.isascii():
        text = text.replace("\N{RIGHT SINGLE QUOTATION MARK}", "'")
        decomposed = unicodedata.normalize("NFKD", text)
        text = "".join(one for one in decomposed if unicodedata.category(one) not in _UNSPOKEN)
    return _WORD.findall(text.lower())
