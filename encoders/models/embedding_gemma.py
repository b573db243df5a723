"""EmbeddingGemma 2: text, pictures, sound and video in one space of 768 dimensions.

A bidirectional Gemma encoder reads text tokens, and soft tokens that a vision or an audio tower makes of the
other media; the embedding is the mean over all tokens of the last layer's projection, L2-normalised, and may be
cut to 512, 256 or 128 dimensions. It runs in bfloat16 or float32: its activations overflow float16, which no
``Placement`` is.

Retrieval works best with the checkpoint's prompts, ``instruction="SearchQuery"`` for queries and ``"Document"`` for
what is searched; media take none. Patch tokens are the last layer at the picture's soft tokens, in the joint space.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from encoders.checkpoint import (
    HUB_PATTERNS,
    VisionFamily,
    load_network,
    load_tokenizer,
)
from encoders.config import EncoderConfig
from encoders.text.encoder import joined_pieces, unit_rows
from encoders.text.tower import TextRules, TextTower, special_tokens
from encoders.torch_device import Placement, placement
from encoders.types import Embeddings, ModelSpec, Pixels, Quality, Sound, Vector
from encoders.vision.joint import JointModel, name_with_imagenet
from encoders.vision.preprocessing import SoftTokenViews, processor_facts
from encoders.vision.tiles import TilePlan
from encoders.vision.tower import Seen, VisionTower
from encoders.weights import find_directory

if TYPE_CHECKING:
    import torch

__all__ = ["SPEC", "EmbeddingGemma", "adopt", "build", "load"]

_MOST_TOKENS = 8192
_SMALLEST_DIMENSIONS = 128
_SIDE_PIXELS = 2112  # 1120 soft tokens of a picture at 16:9, which the best quality reads
_SAMPLES_PER_SECOND = 16_000
_MOST_SAMPLES = 30 * _SAMPLES_PER_SECOND  # the audio tower's; longer sound is read in pieces
_FEWEST_SAMPLES = _SAMPLES_PER_SECOND // 10  # less makes no token
_MOST_FRAMES, _FRAME_SOFT_TOKENS = 32, 70

# No temperature was trained into the checkpoint; this is the one that contrastive models are capped at.
_LOGIT_SCALE = 100.0

_PROMPTS: Mapping[str, str] = {
    "SearchQuery": "task: search result | query: ",
    "Document": "title: none | text: ",
    "SentenceSimilarity": "task: sentence similarity | query: ",
    "Classification": "task: classification | query: ",
    "Clustering": "task: clustering | query: ",
    "QuestionAnswering": "task: question answering | query: ",
    "FactChecking": "task: fact checking | query: ",
    "CodeRetrieval": "task: code retrieval | query: ",
}

_PROCESSOR: Mapping[str, Any] = {
    "patch_size": 16,
    "pooling_kernel_size": 3,
    "max_soft_tokens": 280,
    "resample": 3,
    "do_rescale": True,
    "rescale_factor": 1 / 255,
    "do_normalize": False,
    "image_mean": [0.0, 0.0, 0.0],
    "image_std": [1.0, 1.0, 1.0],
}


_FAMILY = VisionFamily(
    ("text", "image", "audio", "video"),
    "embedding-gemma-1",
    {
        "max_tokens": _MOST_TOKENS,
        "long_text": "pool",
        "side_pixels": _SIDE_PIXELS,
        "smallest_dimensions": _SMALLEST_DIMENSIONS,
        "prompts": dict(_PROMPTS),
        "hub_patterns": (*HUB_PATTERNS, "config_sentence_transformers.json"),
    },
)

SPEC = _FAMILY.listed("embeddinggemma-2", "google/embeddinggemma-2", "Apache-2.0", 768, 740_000_000)


def adopt(name: str, directory: Path, facts: Mapping[str, Any]) -> ModelSpec | None:
    """The spec of the user's own EmbeddingGemma 2 with a vision tower; None for another kind of model."""
    if facts.get("model_type") != "embedding_gemma2" or not facts.get("vision_config"):
        return None
    dimensions = int((facts.get("text_config") or {}).get("embedding_dim", 768))
    return _FAMILY.adopted(name, directory, dimensions)


def load(spec: ModelSpec, config: EncoderConfig) -> EmbeddingGemma:
    """Load and warm up. Raises ``ModelUnavailable`` when the checkpoint is not there or not whole."""
    directory = find_directory(spec, config.models_dir)
    # Never compiled: soft tokens are scattered to places that depend on the pictures, which no graph holds.
    model = build(directory, placement(config.device, threads=config.threads), config.quality)
    name_with_imagenet(model, spec, config.models_dir)
    model.warm_up()
    return model


def build(directory: Path, place: Placement, quality: Quality = Quality.FAST) -> EmbeddingGemma:
    """The model in ``directory`` without label names, on ``place``."""
    network = load_network(directory, "EmbeddingGemma2Model", place)
    return EmbeddingGemma(network, load_tokenizer(directory), directory, place, quality)


class EmbeddingGemma(JointModel):
    """The loaded model: a ``JointModel`` that also embeds sound and video."""

    def __init__(
        self, network: Any, tokenizer: Any, directory: Path, place: Placement, quality: Quality
    ) -> None:
        self._network, self._place = network, place
        self._special = special_tokens(tokenizer)
        self._known = network.config
        self._directory = directory
        dimensions = int(self._known.text_config.embedding_dim)
        facts = processor_facts(directory, _PROCESSOR)
        before, after = self._around(self._known.boi_token_id, self._known.eoi_token_id)
        reader = SoftTokenViews(facts, before, self._known.image_token_id, after, tokenizer.pad_token_id)
        self._frames = SoftTokenViews(
            {**facts, "max_soft_tokens": _FRAME_SOFT_TOKENS}, [], self._known.video_token_id, [], 0
        )

        def look(attention_mask: torch.Tensor, **arguments: torch.Tensor) -> Seen:
            hidden = network(attention_mask=attention_mask, **arguments).last_hidden_state
            return Seen(_mean(hidden, attention_mask), hidden[:, len(before) : hidden.shape[1] - len(after)])

        def read(ids: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
            real = ids != tokenizer.pad_token_id if mask is None else mask
            return _mean(network(input_ids=ids, attention_mask=real).last_hidden_state, real)

        rules = TextRules(
            _MOST_TOKENS, masked=True, prompts=_prompts(directory), smallest_dimensions=_SMALLEST_DIMENSIONS
        )
        super().__init__(
            VisionTower(look, reader, place, quality),
            TextTower(read, tokenizer, rules, place, dimensions),
            _LOGIT_SCALE,
        )

    def embed_sounds(self, sounds: Sequence[Sound]) -> Embeddings:
        """Sounds (mono, 16 kHz) as float32 ``(n, 768)``, order kept.

        Over 30 seconds a sound is read in pieces of like length whose vectors are averaged by their tokens;
        ``chunk_counts`` says so. Sounds under a tenth of a second are read as if silence followed. Raises
        ``ValueError`` for a checkpoint without an audio tower.
        """
        if self._network.audio_tower is None:
            raise ValueError("This checkpoint has no audio tower; fetch the one with all modalities.")
        vectors, tokens, chunks = [], [], []
        for sound in sounds:
            if len(sound) < _FEWEST_SAMPLES:
                sound = np.pad(sound, (0, _FEWEST_SAMPLES - len(sound)))
            pieces = np.array_split(sound, math.ceil(len(sound) / _MOST_SAMPLES))
            read = [self._listen(piece) for piece in pieces]
            counts = [count for _, count in read]
            vectors.append(joined_pieces(np.stack([vector for vector, _ in read]), counts))
            tokens.append(sum(counts))
            chunks.append(len(pieces))
        stacked = np.stack(vectors) if vectors else np.empty((0, self.text.dimensions), dtype=np.float32)
        return Embeddings(stacked, tuple(tokens), tuple(chunks))

    def embed_video(self, frames: Sequence[Pixels]) -> Vector:
        """A video, given as its frames in order, as one vector float32 ``(768,)``.

        The checkpoint was trained on a frame a second, 32 at most; more are thinned evenly. Raises ``ValueError``
        for none.
        """
        if not frames:
            raise ValueError("A video needs at least one frame.")
        import torch

        kept = np.linspace(0, len(frames) - 1, min(len(frames), _MOST_FRAMES), dtype=int)
        views = [self._frames.read(frames[index], Quality.FAST, TilePlan(max_tiles=0)) for index in kept]
        shapes = np.concatenate([one.shapes for one in views if one.shapes is not None])
        pixels = self._place.land([self._place.stage(one.pixels) for one in views])
        known = self._known
        before, after = self._around(known.boi_token_id, known.eoi_token_id)
        # Special tokens stand around the whole video, the marks of a picture around each frame.
        ids = before[:-1]
        for count in shapes.prod(axis=1):
            ids = [*ids, known.boi_token_id, *[known.video_token_id] * int(count), known.eoi_token_id]
        ids = [*ids, *after[1:]]
        seen = self._frames.arguments(pixels, shapes, self._place.torch_dtype)
        table = self._place.to_device(torch.tensor([ids]))
        with torch.inference_mode():
            hidden = self._network(
                input_ids=table,
                attention_mask=torch.ones_like(table),
                pixel_values_videos=seen["pixel_values"],
                video_position_ids=seen["image_position_ids"],
                num_frames_per_video=self._place.to_device(torch.tensor([len(views)])),
            ).last_hidden_state
        return _unit_mean(hidden)

    def _listen(self, sound: Sound) -> tuple[Vector, int]:
        """One sound of at most 30 seconds as a unit vector, and how many tokens it made."""
        import torch

        heard = self._extractor()([np.asarray(sound, dtype=np.float32)], return_tensors="pt")
        mask = heard["input_features_mask"].to(torch.bool)
        real = mask[0].numpy()
        for _ in range(2):  # two convolutions of stride two
            real = real[::2][: (len(real) - 1) // 2 + 1]
        known, count = self._known, int(real.sum())
        before, after = self._around(known.boa_token_id, known.eoa_token_index)
        ids = torch.tensor([[*before, *[known.audio_token_id] * count, *after]])
        table = self._place.to_device(ids)
        with torch.inference_mode():
            hidden = self._network(
                input_ids=table,
                attention_mask=torch.ones_like(table),
                input_features=self._place.to_device(heard["input_features"]).to(self._place.torch_dtype),
                input_features_mask=self._place.to_device(mask),
            ).last_hidden_state
        return _unit_mean(hidden), count

    def _extractor(self) -> Any:
        from transformers.models.gemma4.feature_extraction_gemma4 import Gemma4AudioFeatureExtractor

        settings = _nested_settings(self._directory, "feature_extractor")
        return Gemma4AudioFeatureExtractor(**settings)

    def _around(self, begin: int, end: int) -> tuple[list[int], list[int]]:
        """Token ids before and after a medium's soft tokens: the special ones and the medium's marks."""
        before, after = self._special
        return [*before, begin], [end, *after]


def _mean(hidden: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """The mean over real tokens, in float32."""
    import torch

    real = mask.unsqueeze(-1).to(torch.bool)
    # where(), not a product: padded positions may hold anything, also NaN.
    return torch.where(real, hidden.float(), 0.0).sum(1) / real.sum(1)


def _unit_mean(hidden: torch.Tensor) -> Vector:
    """The mean over the tokens of the only input, at norm 1."""
    vector: Vector = unit_rows(hidden[0].float().mean(0, keepdim=True).cpu().numpy())[0]
    return vector


def _prompts(directory: Path) -> dict[str, str]:
    """The checkpoint's own prompts over the published ones."""
    own = _json(directory / "config_sentence_transformers.json").get("prompts")
    return {**_PROMPTS, **own} if isinstance(own, dict) else dict(_PROMPTS)


def _nested_settings(directory: Path, part: str) -> dict[str, Any]:
    found = _json(directory / "processor_config.json").get(part)
    names = {
        "frame_length_ms",
        "hop_length_ms",
        "feature_size",
        "sampling_rate",
        "min_frequency",
        "max_frequency",
    }
    names |= {"preemphasis", "preemphasis_htk_flavor", "fft_overdrive", "input_scale_factor", "mel_floor"}
    names |= {"per_bin_mean", "per_bin_stddev", "padding_value"}
    return {key: value for key, value in found.items() if key in names} if isinstance(found, dict) else {}


def _json(path: Path) -> dict[str, Any]:
    try:
        read = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return read if isinstance(read, dict) else {}
