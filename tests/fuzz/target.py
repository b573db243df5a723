"""What a fuzz target is, and how bytes are made of those that are known to be interesting."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

__all__ = ["CORPUS", "Target", "mutations"]

CORPUS = Path(__file__).parent / "corpus"
"""Inputs that once were findings, in a folder for each target."""


@dataclass(frozen=True)
class Target:
    """``run`` is to return for any bytes. ``seeds`` are inputs to begin from."""

    name: str
    run: Callable[[bytes], None]
    seeds: tuple[bytes, ...]

    def inputs(self) -> Iterator[bytes]:
        """The seeds, and what was found before."""
        yield from self.seeds
        for file in sorted((CORPUS / self.name).glob("*")):
            yield file.read_bytes()


def mutations(inputs: list[bytes], count: int) -> Iterator[bytes]:
    """``count`` variations, the same every time: flipped, cut out, doubled, spliced, with odd numbers and marks."""
    made = random.Random(7)  # noqa: S311 - no secret
    marks = (
        b"\x00",
        b"\xff" * 8,
        b'"',
        b"\\u0000",
        b"\r\n",
        b"{}",
        b"[[[[",
        b"-1",
        b"1e400",
        b"\xed\xa0\x80",
        b"%00",
    )
    for _ in range(count):
        data = bytearray(made.choice(inputs))
        for _ in range(made.randint(1, 4)):
            at = made.randint(0, len(data))
            end = min(len(data), at + made.choice((1, 2, 4, 16, 64)))
            match made.randint(0, 4):
                case 0:
                    data[at:end] = bytes(byte ^ (1 << made.randint(0, 7)) for byte in data[at:end])
                case 1:
                    del data[at:end]
                case 2:
                    data[at:at] = data[at:end]
                case 3:
                    data[at:at] = made.choice(marks)
                case _:
                    other = made.choice(inputs)
                    data[at:] = other[made.randint(0, len(other)) :]
        yield bytes(data[:4096])
