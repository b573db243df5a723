"""Every real animation held against what Pillow shows of it."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from PIL import Image

from encoders.config import DecodeLimits
from encoders.decoding.animation import animated_frames, is_animated
from encoders.decoding.sniff import sniff
from encoders.errors import EncoderError
from encoders.types import FrameSampling, VideoSummary

LIMITS = DecodeLimits()


def test_real_animations_as_pillow_shows_them(shared_data: Path) -> None:
    seen = whole = 0
    for path in sorted((shared_data / "hard").rglob("*")):
        if path.suffix not in (".gif", ".png", ".webp", ".avifs"):
            continue
        data = path.read_bytes()
        try:
            if not is_animated(io.BytesIO(data), sniff(data)):
                continue
            sampling = FrameSampling(max_frames=256, drop_near_duplicates=False)
            *found, summary = animated_frames(io.BytesIO(data), sniff(data), LIMITS, sampling)
        except (EncoderError, OSError, ValueError, SyntaxError):
            continue
        with Image.open(io.BytesIO(data)) as image:
            count = getattr(image, "n_frames", 1) - bool(image.info.get("default_image"))
            assert len(found) <= count, path.name
            whole += len(found) == count
            last = len(found) - 1 + bool(image.info.get("default_image"))
            image.seek(last)
            shown = image.convert("RGBA")
            white = Image.new("RGBA", shown.size, "white")
            expected = np.asarray(Image.alpha_composite(white, shown).convert("RGB")).astype(int)
        if expected.shape == found[-1].pixels.shape:
            assert np.abs(expected - found[-1].pixels).mean() < 2, path.name
        assert isinstance(summary, VideoSummary)
        assert summary.duration_seconds > 0
        seen += 1
    assert seen > 30
    assert whole > 0.8 * seen
