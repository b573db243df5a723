"""Metrics of several processes in one text, as Prometheus reads it."""

from __future__ import annotations

from collections.abc import Iterable

__all__ = ["merged"]


def merged(expositions: Iterable[bytes]) -> bytes:
    """Texts as ``prometheus_client.generate_latest`` writes them, with each metric's samples in one place.

    Series of the same name and labels must not be in two of them.
    """
    samples: dict[bytes, list[bytes]] = {}
    for text in expositions:
        family = b""
        heading: list[bytes] = []
        for line in text.splitlines():
            if line.startswith(b"# HELP "):
                heading = [line]
            elif line.startswith(b"# TYPE "):
                family = b"\n".join((*heading, line))
            elif line:
                samples.setdefault(family, []).append(line)
    return b"".join(b"\n".join((family, *lines)) + b"\n" for family, lines in samples.items())
