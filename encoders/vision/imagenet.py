"""The readable names of ImageNet's 1000 classes, for label texts of any model that has none of its own."""

from __future__ import annotations

from collections import Counter
from functools import cache

from encoders.weights import package_file

__all__ = ["class_aliases", "class_names"]

_FOLDER = "timm/data/_info"


@cache
def class_aliases() -> tuple[tuple[str, ...], ...]:
    """All names of each class, in ImageNet's order of classes.

    From the text files in the package timm, which is not imported (it needs torchvision). Raises
    ``ModelUnavailable`` when it is not installed.
    """
    synsets = package_file("timm", f"{_FOLDER}/imagenet_synsets.txt").read_text(encoding="utf-8").split()
    lines = package_file("timm", f"{_FOLDER}/imagenet_synset_to_lemma.txt").read_text(encoding="utf-8")
    lemmas = dict(line.split("\t", 1) for line in lines.splitlines())
    return tuple(tuple(lemmas[synset].split(", ")) for synset in synsets)


@cache
def class_names() -> tuple[str, ...]:
    """One readable name per class: its first, with the second where two classes share the first."""
    aliases = class_aliases()
    first = Counter(names[0] for names in aliases)
    return tuple(", ".join(names[: 1 if first[names[0]] == 1 else 2]) for names in aliases)
