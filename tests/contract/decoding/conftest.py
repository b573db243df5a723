"""Real decoders for the sweeps over real media."""

from __future__ import annotations

from media_decoders import decoder, make_decoder

__all__ = ["decoder", "make_decoder"]  # fixtures
