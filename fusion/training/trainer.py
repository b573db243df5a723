"""The loop: frozen decoder, learned bridge, a loss of captions. A resumed run goes on bit for bit.

Everything a step does is a function of its number, the seed and the state: which pairs it looks at
(``fusion.training.batches``), the learning rate, and the dropout, whose random numbers are seeded anew for each
step. So weights and the optimizer's moments are the whole state. On a CPU with the same number of threads the same
run gives the same bits; on a GPU some of torch's kernels add up in an order of their own.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from fusion.errors import TrainingRefused
from fusion.training.batches import IGNORED, Choice, chosen, join, padded
from fusion.training.checkpoints import Checkpoint, Checkpoints
from fusion.training.config import TrainingConfig
from fusion.training.dialogue import Dialogue, Example
from fusion.training.losses import HeldOut, Losses, StepLoss
from fusion.training.pairs import Pair
from fusion.training.picture_tokens import PictureTokens

if TYPE_CHECKING:
    import torch

    from fusion.qformer import QFormer

__all__ = ["BridgeTrainer"]

_BRANCH = "vision"
_LEAST_RATE = 0.01
_BETAS = (0.9, 0.98)  # BLIP-2's
_MOMENTS = ("step", "exp_avg", "exp_avg_sq")  # what AdamW keeps of a parameter
_MAX_HELD_OUT = 256  # pictures that are looked at between steps


class BridgeTrainer:
    """One run: the parameters of ``bridge`` are learned, which takes tokens of its vision branch."""

    def __init__(
        self,
        bridge: QFormer,
        decoder: Any,
        dialogue: Dialogue,
        tokens: PictureTokens,
        pairs: Sequence[Pair],
        held_out: Sequence[Pair],
        config: TrainingConfig,
        device: str = "cpu",
    ) -> None:
        """``decoder`` is a causal language model of transformers, in evaluation mode, its parameters frozen."""
        import torch

        self.step = 0
        self._bridge: Any = bridge.to(device)
        self._decoder = decoder
        self._embed = decoder.get_input_embeddings()
        self._dialogue = dialogue
        self._tokens = tokens
        self._pairs = pairs
        self._held_out = held_out[:_MAX_HELD_OUT]
        self._config = config
        self._device = device
        self._learned = dict(bridge.named_parameters())
        self._optimizer = torch.optim.AdamW(_groups(self._learned, config.weight_decay), betas=_BETAS)

    def resume(self, checkpoint: Checkpoint) -> None:
        """Take over the state after ``checkpoint.step`` steps. Raises ``TrainingRefused`` when it does not fit."""
        try:
            self._bridge.load_state_dict(checkpoint.weights, strict=True)
            state = {
                parameter: {field: checkpoint.optimizer[f"{field}.{name}"] for field in _MOMENTS}
                for name, parameter in self._learned.items()
            }
        except (KeyError, RuntimeError) as error:
            raise TrainingRefused(
                "The checkpoint is of a bridge of another shape; begin the run again."
            ) from error
        for parameter, fields in state.items():
            self._optimizer.state[parameter] = {
                # The count stays on the CPU, where AdamW keeps it.
                field: value.clone() if field == "step" else value.to(self._device, copy=True)
                for field, value in fields.items()
            }
        self.step = checkpoint.step

    def checkpoint(self, facts: Mapping[str, Any]) -> Checkpoint:
        """The state as it is now."""
        moments = {
            f"{field}.{name}": value
            for name, parameter in self._learned.items()
            for field, value in self._optimizer.state[parameter].items()
        }
        return Checkpoint(self.step, facts, dict(self._bridge.state_dict()), moments)

    def run(
        self,
        checkpoints: Checkpoints,
        losses: Losses,
        facts: Mapping[str, Any],
        on_entry: Callable[[StepLoss | HeldOut], None] = lambda entry: None,
        stop: Callable[[], bool] = lambda: False,
    ) -> bool:
        """Train to the last step, saving now and then. ``stop`` is asked after each step; when it says so the state
        is saved and the run ends early: False. Raises ``TrainingRefused`` when the loss is no number any more.
        """
        import torch

        def note(entry: StepLoss | HeldOut) -> None:
            losses.add(entry)
            on_entry(entry)

        with torch.random.fork_rng(devices=[] if self._device == "cpu" else None):
            while self.step < self._config.steps:
                note(self._one_step())
                last, stopped = self.step == self._config.steps, stop()
                due = last or self.step % self._config.checkpoint_every == 0
                if due and len(self._held_out) > 1:
                    note(self.look_at_held_out())
                if due or stopped:
                    checkpoints.save(self.checkpoint(facts))
                if stopped and not last:
                    return False
        return True

    def look_at_held_out(self) -> HeldOut:
        """Losses of held-out pictures' first captions with their own tokens and with the next picture's."""
        import torch

        self._bridge.eval()
        examples = [self._dialogue.example(0, pair.captions[0]) for pair in self._held_out]
        pictures = [self._tokens.load(pair.image) for pair in self._held_out]
        with torch.no_grad():
            right = self._mean_loss(examples, pictures)
            wrong = self._mean_loss(examples, [*pictures[1:], pictures[0]])
        return HeldOut(self.step, right, wrong)

    def learning_rate(self, step: int) -> float:
        """Of step ``step``, from 0."""
        config = self._config
        if step < config.warmup_steps:
            return config.learning_rate * (step + 1) / config.warmup_steps
        done = (step - config.warmup_steps) / max(1, config.steps - config.warmup_steps)
        fallen = (1 + math.cos(math.pi * done)) / 2
        return config.learning_rate * (_LEAST_RATE + (1 - _LEAST_RATE) * fallen)

    def _one_step(self) -> StepLoss:
        import torch

        config = self._config
        torch.manual_seed(_step_seed(config.seed, self.step))
        self._bridge.train()
        choices = chosen(self.step, len(self._pairs), config.batch_size, config.seed)
        examples = [self._example(choice) for choice in choices]
        pictures = [self._tokens.load(self._pairs[choice.pair].image) for choice in choices]
        answers = sum(len(example.answer) for example in examples)
        rate = self.learning_rate(self.step)
        for group in self._optimizer.param_groups:
            group["lr"] = rate
        self._optimizer.zero_grad(set_to_none=True)
        total = 0.0
        size = config.micro_batch or config.batch_size
        for start in range(0, len(examples), size):
            part = slice(start, start + size)
            loss = self._summed_loss(examples[part], pictures[part]) / answers
            loss.backward()
            total += float(loss.detach())
        norm = float(torch.nn.utils.clip_grad_norm_(self._learned.values(), config.max_gradient_norm))
        if not math.isfinite(total) or not math.isfinite(norm):
            raise TrainingRefused(
                f"At step {self.step + 1} the loss or its gradient was no number any more. Go on from the last "
                "checkpoint with a smaller learning rate, in a run of another name."
            )
        self._optimizer.step()
        self.step += 1
        return StepLoss(self.step, total, rate, norm)

    def _example(self, choice: Choice) -> Example:
        captions = self._pairs[choice.pair].captions
        prompt = int(choice.prompt * self._dialogue.prompts)
        return self._dialogue.example(prompt, captions[int(choice.caption * len(captions))])

    def _mean_loss(self, examples: Sequence[Example], pictures: Sequence[Any]) -> float:
        size = self._config.micro_batch or self._config.batch_size
        starts = range(0, len(examples), size)
        losses = [self._summed_loss(examples[at : at + size], pictures[at : at + size]) for at in starts]
        return float(sum(losses)) / sum(len(example.answer) for example in examples)

    def _summed_loss(self, examples: Sequence[Example], pictures: Sequence[Any]) -> torch.Tensor:
        """Cross entropy of all answers' tokens, summed."""
        import torch

        tokens, mask = padded(pictures)
        masks = None if mask is None else {_BRANCH: mask.to(self._device)}
        soft = self._bridge({_BRANCH: tokens.to(self._device)}, masks)
        batch = join(examples, soft, self._embed)
        places = torch.arange(batch.first, batch.mask.shape[1], device=self._device)
        logits = self._decoder(
            inputs_embeds=batch.embeddings, attention_mask=batch.mask, use_cache=False, logits_to_keep=places
        ).logits
        return torch.nn.functional.cross_entropy(
            logits.float().flatten(0, 1), batch.labels.flatten(), ignore_index=IGNORED, reduction="sum"
        )


def _groups(learned: Mapping[str, torch.Tensor], weight_decay: float) -> list[dict[str, Any]]:
    """Matrices decay; biases, norms and query tokens do not."""
    decayed = [one for name, one in learned.items() if one.ndim == 2]
    others = [one for name, one in learned.items() if one.ndim != 2]
    return [{"params": decayed, "weight_decay": weight_decay}, {"params": others, "weight_decay": 0.0}]


def _step_seed(seed: int, step: int) -> int:
    return int(np.random.SeedSequence((seed, 3, step)).generate_state(1, np.uint64)[0] >> 1)
