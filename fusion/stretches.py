"""A recording's tokens cut into stretches of equal length, each of which becomes one piece of the prompt."""

from __future__ import annotations

import numpy as np

from encoders.types import AudioTokens
from fusion.bridge import BranchTokens

__all__ = ["stretches"]


def stretches(heard: AudioTokens, seconds: float) -> tuple[BranchTokens, tuple[float, ...]]:
    """The recording in stretches of ``seconds``, and when each begins; both are empty for no sound.

    The last stretch is filled up with zeros, which ``lengths`` says are not real.
    """
    count, width = heard.tokens.shape
    most = max(1, round(seconds / heard.seconds_per_token))
    pieces = -(-count // most)
    filled = np.zeros((pieces * most, width), np.float32)
    filled[:count] = heard.tokens
    lengths = tuple(min(most, count - index * most) for index in range(pieces))
    starts = tuple(round(index * most * heard.seconds_per_token, 6) for index in range(pieces))
    return BranchTokens("speech", filled.reshape(pieces, most, width), lengths), starts
