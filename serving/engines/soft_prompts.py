"""Soft tokens on their way into vLLM: checked against the decoder first, then lent as vLLM's own content parts.

vLLM says of its flags for embeddings that wrong shapes may end the engine. Whatever is wrong with soft tokens is
therefore found here, where it is an error of one request.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pybase64

from fusion.errors import BridgeMismatch
from serving.config import SoftTokenForm
from serving.errors import AttachmentRefused, InvalidRequest
from serving.services import PromptEmbeddings

__all__ = ["SoftPrompts"]


@dataclass(frozen=True, slots=True)
class SoftPrompts:
    """What one decoder takes: soft tokens made for ``decoder``, ``width`` numbers each, in ``form``; ``None`` takes
    none. A prompt has ``context_tokens`` tokens at most. ``place_tokens`` says how many tokens the model gives to a
    picture of so many soft tokens; only ``image_embeds`` may differ.
    """

    form: SoftTokenForm | None
    decoder: str
    width: int
    context_tokens: int
    place_tokens: Callable[[int], int] = int

    def check(self, prompts: tuple[PromptEmbeddings, ...]) -> None:
        """Raise ``BridgeMismatch`` for those of another decoder, ``AttachmentRefused`` for what is no float32
        ``(tokens, width)`` of finite numbers, and ``InvalidRequest`` when all together exceed the context.
        """
        for prompt in prompts:
            self._check_one(prompt)
        tokens = sum(len(prompt.vectors) for prompt in prompts)
        if tokens >= self.context_tokens:
            raise InvalidRequest(
                f"The media take {tokens} tokens, but the model's context holds {self.context_tokens}. "
                "Send fewer media.",
                "messages",
                "context_length_exceeded",
            )

    def _check_one(self, prompt: PromptEmbeddings) -> None:
        if self.form is None:
            raise AttachmentRefused("The model's engine was started without support for soft tokens.")
        if prompt.decoder != self.decoder:
            raise BridgeMismatch(
                f"The media were prepared for the model '{prompt.decoder}', but '{self.decoder}' answers. Each "
                "model needs the bridge that was made for it."
            )
        vectors = prompt.vectors
        if not isinstance(vectors, np.ndarray) or vectors.dtype != np.float32 or vectors.ndim != 2:
            raise AttachmentRefused("The media's soft tokens are no float32 matrix; tell the operator.")
        if vectors.shape[1] != self.width:
            raise AttachmentRefused(
                f"The media's soft tokens are {vectors.shape[1]} numbers wide, but the model's are {self.width}; "
                "tell the operator."
            )
        if not len(vectors):
            raise AttachmentRefused("A medium has no soft tokens; tell the operator.")
        if not np.isfinite(vectors).all():
            raise AttachmentRefused("The media's soft tokens hold numbers that are none; tell the operator.")
        if self.form == "image_embeds" and self.place_tokens(len(vectors)) != len(vectors):
            raise AttachmentRefused(
                f"A medium has {len(vectors)} soft tokens, but the model gives a picture "
                f"{self.place_tokens(len(vectors))}; tell the operator."
            )

    def loan(self, prompt: PromptEmbeddings) -> Any:
        """Checked soft tokens as what is lent to vLLM: a tensor, or in the places of pictures its bytes in base64,
        which take milliseconds per megabyte: call it in a thread.
        """
        import torch

        # Of read-only memory torch makes tensors only under protest, and Ray hands out nothing else. torch.save
        # writes the whole storage of a view, so what is saved must own its numbers anyway.
        tensor = torch.from_numpy(np.array(prompt.vectors, order="C"))
        if self.form == "prompt_embeds":
            return tensor
        written = io.BytesIO()
        torch.save(tensor, written)
        return pybase64.b64encode_as_string(written.getbuffer())

    def part(self, loan: Any, ticket: str) -> dict[str, Any]:
        """vLLM's content part of a loan."""
        if self.form == "image_embeds":
            return {"type": "image_embeds", "image_embeds": loan}
        return {"type": "prompt_embeds", "data": ticket}
