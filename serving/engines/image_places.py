"""How many tokens a model gives to a picture that comes as soft tokens.

Some families count them (LLaVA), some always give the same number (BLIP-2, PaliGemma). Where the two differ,
vLLM's engine core ends while it splices them in, and with it every other request. vLLM's own processor knows the
number beforehand.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from serving.engines.placeholders import placeholder_of

__all__ = ["ImagePlaces"]


class ImagePlaces:
    """Asks the multimodal processor of one engine; ``width`` numbers make a soft token."""

    def __init__(self, renderer: Any, model_config: Any, width: int) -> None:
        self._processor = renderer.get_mm_processor()
        word = placeholder_of(model_config, "image")
        tokenizer = renderer.get_tokenizer()
        # A model without a word for the place puts pictures before the text, whatever that is.
        self._prompt: list[int] = tokenizer.encode(word or ".", add_special_tokens=False)
        self._width = width
        self.tokens_for = lru_cache(maxsize=256)(self._tokens_for)

    def _tokens_for(self, soft_tokens: int) -> int:
        import torch

        picture = torch.zeros(soft_tokens, self._width)
        items = self._processor.info.parse_mm_data({"image": [picture]}, validate=False)
        placed = self._processor(list(self._prompt), items)["mm_placeholders"]["image"]
        return sum(int(place.get_num_embeds()) for place in placed)
