"""Sets of keys that have to be remembered while a store is walked: eight bytes a key."""

from __future__ import annotations

import hashlib
from array import array
from bisect import bisect_left
from collections.abc import Iterable

import numpy as np

__all__ = ["Marks"]


class Marks:
    """A fixed set of strings, kept as 64-bit hashes.

    Once in 2^64 / size it says that it holds a string which it does not. So use it where that does no harm:
    garbage that is kept, never something needed that is removed.
    """

    def __init__(self, names: Iterable[str]) -> None:
        hashes = np.fromiter((_hash(name) for name in names), dtype=np.uint64)
        hashes.sort()
        self._hashes = array("Q", hashes.tobytes())

    def __contains__(self, name: str) -> bool:
        wanted = _hash(name)
        at = bisect_left(self._hashes, wanted)
        return at < len(self._hashes) and self._hashes[at] == wanted

    def __len__(self) -> int:
        return len(self._hashes)


def _hash(name: str) -> int:
    return int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest(), "little")
