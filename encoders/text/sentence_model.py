"""A sentence encoder through transformers: any text network, pooled as its checkpoint says.

Texts are padded on the right whatever side the tokeniser likes. For networks that look both ways the side only
matters to absolute positions, which count from the left; a decoder never looks right, so its last real token sees
the same as with padding on the left.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from encoders.batching.encoder import run_by_bucket
from encoders.checkpoint import load_network, load_tokenizer
from encoders.errors import ModelUnavailable
from encoders.text.encoder import (
    TextEmbedding,
    TokenizedText,
    check_dimensions,
    prompt_of,
    shortened,
    stacked,
    unit_rows,
)
from encoders.text.sentence_layout import DenseLayer
from encoders.text.token_pooling import POOLINGS
from encoders.torch_device import Placement, padded_size
from encoders.types import Embeddings, Vector

if TYPE_CHECKING:
    import torch

__all__ = ["SentenceEncoder", "SentenceRules"]

_CPU_TOKENS, _GPU_TOKENS = 1024, 32768  # with padding, in one pass
_GPU_BATCH = 512


@dataclass(frozen=True, slots=True)
class SentenceRules:
    """What a model wants of its texts; see ``SentenceLayout``. ``smallest_dimensions`` is the shortest that a
    Matryoshka model's vectors may be cut to.
    """

    dimensions: int
    pooling: str
    max_tokens: int
    lower_case: bool = False
    prompts: Mapping[str, str] = field(default_factory=dict)
    default_prompt: str | None = None
    smallest_dimensions: int | None = None
    dense: tuple[DenseLayer, ...] = ()


class SentenceEncoder:
    """A loaded sentence encoder: a ``TextEncoder``. Thread-safe; texts over ``max_tokens`` are cut."""

    def __init__(self, directory: Path, rules: SentenceRules, placement: Placement) -> None:
        """Raises ``ModelUnavailable`` for weights that are missing, or of other dimensions than ``rules`` say."""
        from tokenizers import Tokenizer

        self._rules = rules
        self._placement = placement
        tokenizer = load_tokenizer(directory)
        backend = getattr(tokenizer, "backend_tokenizer", None)
        if backend is None:
            raise ModelUnavailable(
                f"The sentence encoder '{directory.name}' has no fast tokeniser (tokenizer.json)."
            )
        # A copy: transformers changes its tokeniser's truncation at every call, which threads cannot share.
        self._tokenizer = Tokenizer.from_str(backend.to_str())
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(rules.max_tokens)
        self._pad = int(tokenizer.pad_token_id or 0)
        self._network = load_network(directory, "AutoModel", placement, **_without_pooler(directory))
        self._read = placement.compile(self._hidden)
        self._dense = [_dense_weights(layer, placement) for layer in rules.dense]
        self._pool = POOLINGS[rules.pooling]
        width = self.embed(("width",)).vectors.shape[1]
        if width != rules.dimensions:
            raise ModelUnavailable(
                f"The sentence encoder '{directory.name}' gives {width} dimensions and not {rules.dimensions}."
            )

    def embed(
        self, texts: Sequence[str], instruction: str | None = None, dimensions: int | None = None
    ) -> Embeddings:
        """See ``TextEncoder.embed``."""
        check_dimensions(dimensions, self._rules.dimensions, self._rules.smallest_dimensions)
        prepared = self._tokenized(texts, instruction)
        made = stacked(run_by_bucket(self, prepared), self._rules.dimensions)
        return Embeddings(shortened(made.vectors, dimensions), made.token_counts, made.chunk_counts)

    def prepare(self, items: Sequence[str]) -> list[TokenizedText]:
        """Tokenise, with the default prompt where the model has one."""
        return self._tokenized(items, None)

    def bucket(self, prepared: TokenizedText) -> int:
        """The padded length: in steps of an eighth, so that few shapes occur and little is wasted."""
        tokens = len(prepared.ids)
        step = max(8, 1 << max(0, (tokens - 1).bit_length() - 3))
        return min(-(-tokens // step) * step, max(self._rules.max_tokens, tokens))

    def cost(self, prepared: TokenizedText) -> int:
        """Tokens with padding."""
        return self.bucket(prepared)

    def run(self, batch: Sequence[TokenizedText]) -> list[TextEmbedding]:
        """The network on texts of one bucket."""
        if not batch:
            return []
        length = max(self.bucket(one) for one in batch)
        most = max(1, (_GPU_TOKENS if self._placement.on_gpu else _CPU_TOKENS) // length)
        most = min(most, _GPU_BATCH)
        vectors = np.concatenate(
            [self._forward(batch[start : start + most], length, most) for start in range(0, len(batch), most)]
        )
        return [TextEmbedding(vector, len(one.ids)) for vector, one in zip(vectors, batch, strict=True)]

    def _tokenized(self, texts: Sequence[str], instruction: str | None) -> list[TokenizedText]:
        prompt = prompt_of(instruction, self._rules.prompts, self._rules.default_prompt)
        texts = [prompt + text for text in texts]
        if self._rules.lower_case:
            texts = [text.lower() for text in texts]
        encoded = self._tokenizer.encode_batch_fast(texts)
        # A tokeniser without special tokens makes nothing of an empty text, and a network must read something.
        return [TokenizedText(np.array(one.ids or [self._pad], dtype=np.int32)) for one in encoded]

    def _forward(self, batch: Sequence[TokenizedText], length: int, most: int) -> Vector:
        import torch

        rows = padded_size(len(batch), most) if self._placement.compiled else len(batch)
        ids = np.full((rows, length), self._pad, dtype=np.int64)
        mask = np.zeros((rows, length), dtype=np.int64)
        mask[:, 0] = 1  # no row may be all padding, also not those that fill up a batch
        for row, one in enumerate(batch):
            ids[row, : len(one.ids)] = one.ids
            mask[row, : len(one.ids)] = 1
        tokens, real = (self._placement.to_device(torch.from_numpy(array)) for array in (ids, mask))
        with torch.inference_mode():
            pooled = self._pool(self._read(tokens, real), real)
            for weight, bias, activation in self._dense:
                pooled = torch.nn.functional.linear(pooled, weight, bias)
                pooled = torch.tanh(pooled) if activation == "tanh" else pooled
            return unit_rows(pooled[: len(batch)].cpu().numpy())

    def _hidden(self, tokens: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        hidden: torch.Tensor = self._network(input_ids=tokens, attention_mask=mask).last_hidden_state
        return hidden


def _without_pooler(directory: Path) -> dict[str, bool]:
    """BERT's own pooler is not what sentence encoders are pooled by, and many checkpoints lack it."""
    from transformers import MODEL_MAPPING, AutoConfig

    try:
        facts = AutoConfig.from_pretrained(directory, local_files_only=True, trust_remote_code=False)
        network = MODEL_MAPPING[type(facts)]
    except (OSError, ValueError, KeyError) as error:
        raise ModelUnavailable(
            f"The sentence encoder '{directory.name}' is of a kind that transformers does not know without running "
            "code from its folder, which is never done."
        ) from error
    takes = inspect.signature(network.__init__).parameters
    return {"add_pooling_layer": False} if "add_pooling_layer" in takes else {}


def _dense_weights(layer: DenseLayer, placement: Placement) -> tuple[Any, Any, str]:
    """Weight, bias (or None) and activation; float32, as pooled vectors are."""
    from safetensors.torch import load_file

    weights = load_file(layer.weights, device=placement.device)
    bias = weights.get("linear.bias")
    return weights["linear.weight"].float(), None if bias is None else bias.float(), layer.activation
