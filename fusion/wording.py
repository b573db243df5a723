"""How media are called in a prompt, and strangers' text made fit to be quoted in one."""

from __future__ import annotations

import re
from collections.abc import Sequence

from encoders.types import MediaKind

__all__ = ["names", "opening", "plain", "quotable"]

_NAMES = {MediaKind.IMAGE: "picture", MediaKind.AUDIO: "recording", MediaKind.VIDEO: "video"}


def names(kinds: Sequence[MediaKind]) -> list[str]:
    """How each medium is called in the prompt: "The picture" when it is the only one of its kind, else numbered."""
    seen: dict[MediaKind, int] = {}
    called = []
    for kind in kinds:
        seen[kind] = seen.get(kind, 0) + 1
        name = _NAMES[kind]
        called.append(f"The {name}" if kinds.count(kind) == 1 else f"{name.capitalize()} {seen[kind]}")
    return called


def opening(name: str, duration_seconds: float | None) -> str:
    """The sentence that says how long a medium is."""
    if duration_seconds is None:
        return f"{name} is of unknown length."
    return f"{name} is {duration_seconds:.1f} seconds long."


def plain(text: str) -> str:
    """Perceived text made harmless for a chat template: one line, and no control token of any decoder.

    What is written in a picture or spoken is a stranger's text: ``<|im_end|>`` in it must not end the message.
    """
    text = re.sub(r"\s+", " ", text).strip()
    text = re.sub(r"<(?=\S)", "< ", text)
    # [INST], [UNUSED_TOKEN_145] (InternLM), [gMASK] (GLM), [|user|] (EXAONE).
    return re.sub(r"\[(?=/?\|?[A-Za-z_]\w*\|?\])", "[ ", text)


def quotable(text: str) -> str:
    """A stranger's words, to be put between quotation marks."""
    return plain(text).replace('"', "'")
