"""The strategy that a profile asks for."""

from __future__ import annotations

from collections.abc import Callable

from fusion.prompt import PromptComposer
from fusion.text import TextFusion
from serving.config import GatewayConfig
from serving.perceiver import Perceiver
from serving.services import Bridge
from serving.soft_media import SoftMedia
from serving.strategies.native import NativeStrategy
from serving.strategies.qformer import QFormerStrategy
from serving.strategies.strategy import Strategy
from serving.strategies.text import TextStrategy

__all__ = ["chosen_strategy"]


def chosen_strategy(
    config: GatewayConfig, perceiver: Perceiver, bridge: Bridge | None, count_tokens: Callable[[str], int]
) -> Strategy:
    """The strategy of the served chat model. Raises ``ValueError`` for settings that do not belong together."""
    reads = config.fusion.read_pictures
    composer = PromptComposer(count_tokens, config.fusion.media_token_budget)
    match config.chat_model.fusion:
        case "qformer":
            if bridge is None or config.bridge is None:
                raise ValueError("The strategy 'qformer' needs a bridge.")
            soft = SoftMedia(bridge, config.bridge, perceiver.tasks)
            context_tokens = config.chat_model.context_tokens
            return QFormerStrategy(
                perceiver, soft, composer, config.views, context_tokens, read_pictures=reads
            )
        case "native":
            if config.native is None:
                raise ValueError("The strategy 'native' needs to know what the decoder takes in.")
            return NativeStrategy(perceiver, composer, config.native, config.cache_secret)
        case "text":
            return TextStrategy(perceiver, TextFusion(config.fusion, count_tokens), read_pictures=reads)
