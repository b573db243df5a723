"""Settings of one training run, built once in ``deploy`` and passed in."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

__all__ = ["PROMPTS", "BridgeShape", "RunFolder", "TrainingConfig"]

PROMPTS = (
    "Describe the picture.",
    "What is in the picture?",
    "What does the photo show?",
    "Write a caption for the image.",
)
"""Questions that captions answer in training; users will ask in other words."""


@dataclass(frozen=True, slots=True)
class BridgeShape:
    """Size of the Q-Former. BLIP-2's own is 32 queries, 12 layers of 768 with 12 heads."""

    queries: int = 32
    layers: int = 6
    width: int = 384
    heads: int = 6

    def __post_init__(self) -> None:
        """Raise ``ValueError`` for a shape that cannot be built."""
        if min(self.queries, self.layers, self.width, self.heads) < 1:
            raise ValueError("queries, layers, width and heads must be at least 1")
        if self.width % self.heads:
            raise ValueError(f"the width {self.width} must be a multiple of the {self.heads} heads")


@dataclass(frozen=True, slots=True)
class TrainingConfig:
    """How one run goes. The same settings, pairs and machine give the same bridge, resumed or not.

    A step looks at ``batch_size`` pictures, ``micro_batch`` at a time (0: all at once); the learning rate rises
    over ``warmup_steps`` and falls as a cosine to a hundredth of ``learning_rate`` at step ``steps``. ``held_out``
    is the share of pictures that are never trained on. Every ``checkpoint_every`` steps the state is saved and
    held-out pictures are looked at; the newest ``keep_checkpoints`` stay.
    """

    steps: int = 1000
    batch_size: int = 16
    micro_batch: int = 0
    learning_rate: float = 3e-4
    warmup_steps: int = 50
    weight_decay: float = 0.05
    max_gradient_norm: float = 1.0
    dropout: float = 0.1
    max_caption_tokens: int = 48
    held_out: float = 0.1
    checkpoint_every: int = 100
    keep_checkpoints: int = 2
    seed: int = 0
    prompts: tuple[str, ...] = PROMPTS
    shape: BridgeShape = BridgeShape()

    def __post_init__(self) -> None:
        """Raise ``ValueError`` for settings that cannot train."""
        whole = (
            self.steps,
            self.batch_size,
            self.max_caption_tokens,
            self.checkpoint_every,
            self.keep_checkpoints,
        )
        if min(whole) < 1:
            raise ValueError(
                "steps, batch_size, max_caption_tokens, checkpoint_every and keep_checkpoints must be at least 1"
            )
        if self.micro_batch < 0 or self.warmup_steps < 0 or self.weight_decay < 0:
            raise ValueError("micro_batch, warmup_steps and weight_decay must not be negative")
        if not self.learning_rate > 0 or not self.max_gradient_norm > 0:
            raise ValueError("learning_rate and max_gradient_norm must be above 0")
        if not 0 <= self.held_out < 1 or not 0 <= self.dropout < 1:
            raise ValueError("held_out and dropout must be at least 0 and below 1")
        if not self.prompts or not all(self.prompts):
            raise ValueError("there must be at least one prompt, and none may be empty")

    def facts(self) -> dict[str, Any]:
        """Everything that decides how the bridge turns out, for telling one run from another. Not how often it is
        saved.
        """
        facts = asdict(self)
        del facts["checkpoint_every"], facts["keep_checkpoints"]
        return {**facts, "prompts": list(self.prompts)}


@dataclass(frozen=True, slots=True)
class RunFolder:
    """Where a run keeps what it needs to go on: checkpoints, tokens of pictures, losses."""

    root: Path

    @property
    def checkpoints(self) -> Path:
        """One folder for each saved step."""
        return self.root / "checkpoints"

    @property
    def tokens(self) -> Path:
        """What the vision encoder gave for each picture."""
        return self.root / "tokens"

    @property
    def losses(self) -> Path:
        """JSON lines, one for each step and each look at held-out pictures."""
        return self.root / "losses.jsonl"

    @property
    def curve(self) -> Path:
        """The losses as a picture."""
        return self.root / "losses.svg"
