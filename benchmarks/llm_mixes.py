"""What open-loop load is made of: text, or pictures of which a share were asked about before.

Every question's words are new. A known picture is one of ``KNOWN`` that each server was asked about before the
first round; a new one is drawn for its request alone and never comes again. Both servers get the same requests.
"""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.load import prompt
from benchmarks.strategies import picture

__all__ = ["KNOWN", "MIXES", "Mix", "known_pictures", "requests", "write_requests"]

KNOWN = 4
_FIRST_NEW = 1 << 20  # pictures with smaller numbers are the known ones


@dataclass(frozen=True, slots=True)
class Mix:
    """A kind of load: which platform answers it, whether vLLM's own server does too, and what is good enough.

    ``known_share`` is ``None`` for text. ``rate`` are requests a second (Poisson); a request that misses
    ``ttft_ms`` or ``tpot_ms`` is no goodput. Rates are about half of what two cores bear.
    """

    contender: str
    known_share: float | None
    peer: bool
    rate: float
    tokens: int
    ttft_ms: int
    tpot_ms: int


MIXES = {
    "text": Mix("text", None, True, rate=2.0, tokens=64, ttft_ms=500, tpot_ms=100),
    **{
        f"text-{share}": Mix("text", share / 100, False, rate=0.5, tokens=64, ttft_ms=2500, tpot_ms=150)
        for share in (0, 50, 90)
    },
    **{
        f"native-{share}": Mix("native", share / 100, True, rate=0.7, tokens=32, ttft_ms=1500, tpot_ms=150)
        for share in (0, 50, 90)
    },
}
"""``text-50`` is the platform's strategy ``text`` with half of the pictures known: the laptop's decoder takes no
pictures, so vLLM's own server has no part in it. ``native-50`` is a BLIP-2, served whole by both.
"""


def requests(mix: Mix, number: int, count: int) -> list[list[dict[str, Any]]]:
    """The contents of ``count`` messages; the same for the same ``number`` of a round."""
    dice = np.random.default_rng((number, round(100 * (mix.known_share or 0))))
    made = []
    for index in range(count):
        words = {"type": "text", "text": prompt(number, index)}
        if mix.known_share is None:
            made.append([words])
            continue
        known = dice.random() < mix.known_share
        seed = int(dice.integers(KNOWN)) if known else _FIRST_NEW + int(dice.integers(1 << 30))
        made.append([_part(seed), words])
    return made


def known_pictures() -> list[list[dict[str, Any]]]:
    """A message about each known picture, for the time before the first round."""
    return [[_part(seed), {"type": "text", "text": "What could this be about?"}] for seed in range(KNOWN)]


def write_requests(path: Path, contents: list[list[dict[str, Any]]]) -> None:
    """As the tool reads them: a JSON object a line."""
    path.write_text("".join(json.dumps({"content": content}) + "\n" for content in contents), "utf-8")


@lru_cache(KNOWN + 1)  # the known ones come again and again
def _part(seed: int) -> dict[str, Any]:
    url = f"data:image/jpeg;base64,{base64.b64encode(picture(seed)).decode()}"
    return {"type": "image_url", "image_url": {"url": url}}
