"""Flags of vLLM's server that an engine's settings become."""

from __future__ import annotations

import json
from pathlib import Path

from encoders.types import MediaKind
from serving.config import EngineConfig


def flags(**settings: object) -> list[str]:
    return EngineConfig(Path("/m"), "m", extra_arguments=("--seed", "1"), **settings).arguments()


def test_text_alone_adds_nothing() -> None:
    assert not [flag for flag in flags() if "mm" in flag or "embeds" in flag]
    assert flags()[-2:] == ["--seed", "1"]


def test_soft_tokens() -> None:
    assert "--enable-prompt-embeds" in flags(soft_tokens_as="prompt_embeds")
    given = flags(soft_tokens_as="image_embeds")
    assert "--enable-mm-embeds" in given
    assert json.loads(given[given.index("--limit-mm-per-prompt") + 1]) == {"image": 0, "audio": 0, "video": 0}


def test_native_media() -> None:
    given = flags(native_limits={MediaKind.IMAGE: 3, MediaKind.VIDEO: 1}, processor_cache_bytes=1 << 29)
    assert json.loads(given[given.index("--limit-mm-per-prompt") + 1]) == {"image": 3, "audio": 0, "video": 1}
    assert given[given.index("--mm-processor-cache-gb") + 1] == "0.5"
