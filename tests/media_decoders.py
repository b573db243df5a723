"""Fixtures: real decoders, for the tests of decoding that are quick and for the sweeps over real media."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from encoders.config import DecodeLimits
from encoders.decoding.sandbox import MediaDecoder

__all__ = ["decoder", "make_decoder"]


@pytest.fixture(scope="module")
def decoder() -> Iterator[MediaDecoder]:
    """A real decoder with the default limits, shared by a module's tests: to start one takes half a second."""
    made = MediaDecoder(DecodeLimits())
    yield made
    made.close()


@pytest.fixture
def make_decoder() -> Iterator[Callable[..., MediaDecoder]]:
    """Make decoders with other limits; they are closed after the test."""
    made: list[MediaDecoder] = []

    def make(limits: DecodeLimits | None = None, **options: Any) -> MediaDecoder:
        # A made-up process answers its jobs itself: a child that is waited for would never say that it ended.
        usual = DecodeLimits(process_per_medium="command" not in options)
        made.append(MediaDecoder(limits or usual, **options))
        return made[-1]

    yield make
    for one in made:
        one.close()
