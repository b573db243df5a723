"""The words around a picture's soft tokens in training: what a chat with one picture gets when it is served."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from fusion.errors import TrainingRefused

__all__ = ["Dialogue", "Example"]

_PLACE = "\x00soft-tokens\x00"  # of the picture in the rendered chat; no template writes it


@dataclass(frozen=True, slots=True)
class Example:
    """Token ids before the soft tokens, between them and the answer, and of the answer with its end."""

    before: tuple[int, ...]
    after: tuple[int, ...]
    answer: tuple[int, ...]


class Dialogue:
    """Renders the decoder's chat template as vLLM does for a message of one picture and one text: joined by a line
    break. The answer ends with the decoder's end token, so that it learns to stop.
    """

    def __init__(self, tokenizer: Any, prompts: Sequence[str], max_caption_tokens: int) -> None:
        """Raises ``TrainingRefused`` when the tokenizer has no chat template or no end token."""
        if not getattr(tokenizer, "chat_template", None):
            raise TrainingRefused(
                "The decoder has no chat template, so nobody could chat with it; choose another."
            )
        if tokenizer.eos_token_id is None:
            raise TrainingRefused("The decoder's tokenizer has no end token; choose another decoder.")
        self._tokenizer = tokenizer
        self._max_caption_tokens = max_caption_tokens
        self._around = [self._render(prompt) for prompt in prompts]
        # After "assistant:" a model begins with a space, after a line break or a token of the template's without.
        last = self._around[0][1][-1:]
        ends = tokenizer.decode(last)
        own = bool(last) and last[0] in tokenizer.all_special_ids
        self._space = "" if own or ends != ends.rstrip() else " "
        self.prompts = len(self._around)

    def example(self, prompt: int, caption: str) -> Example:
        """The dialogue of prompt number ``prompt`` whose answer is ``caption``, cut to its greatest length."""
        before, after = self._around[prompt]
        answer = self._ids(self._space + caption)[: self._max_caption_tokens]
        return Example(before, after, (*answer, int(self._tokenizer.eos_token_id)))

    def _render(self, prompt: str) -> tuple[tuple[int, ...], tuple[int, ...]]:
        message = {"role": "user", "content": f"{_PLACE}\n{prompt}"}
        rendered = self._tokenizer.apply_chat_template([message], tokenize=False, add_generation_prompt=True)
        before, place, after = rendered.partition(_PLACE)
        if not place:
            raise TrainingRefused(
                "The decoder's chat template leaves out what the user says; choose another decoder."
            )
        return self._ids(before), self._ids(after)

    def _ids(self, text: str) -> tuple[int, ...]:
        return tuple(self._tokenizer(text, add_special_tokens=False)["input_ids"])
