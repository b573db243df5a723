"""What a vision model names, in words: sure names first, then the doubtful ones behind one "perhaps"."""

from __future__ import annotations

from collections.abc import Sequence

from encoders.types import ImageLabel
from fusion.config import FusionConfig
from fusion.wording import plain

__all__ = ["mean_labels", "named", "told"]

# What is this much less probable than the first name is one of its look-alikes far more often than a second thing.
_LEAST_SHARE = 1 / 3


def named(labels: Sequence[ImageLabel], most: int, config: FusionConfig) -> list[ImageLabel]:
    """The labels that are told, at most so many, given the most probable first."""
    if not labels:
        return []
    least = max(config.min_label_probability, labels[0].probability * _LEAST_SHARE)
    return [label for label in labels[:most] if label.probability >= least]


def told(labels: Sequence[ImageLabel], config: FusionConfig) -> str:
    """Names such as "cab, perhaps van or truck"; empty without labels.

    Probabilities are not written: they cost as many tokens as names, and small decoders take them for parts
    of names.
    """
    sure = [_name(label) for label in labels if label.probability >= config.sure_label_probability]
    doubtful = [_name(label) for label in labels if label.probability < config.sure_label_probability]
    parts = [", ".join(sure)] if sure else []
    if doubtful:
        *others, last = doubtful
        parts.append("perhaps " + (f"{', '.join(others)} or {last}" if others else last))
    return ", ".join(parts)


def mean_labels(frames: Sequence[Sequence[ImageLabel]]) -> list[ImageLabel]:
    """Labels of several frames with their mean probabilities, the most probable first."""
    sums: dict[str, float] = {}
    for labels in frames:
        for label in labels:
            sums[label.text] = sums.get(label.text, 0.0) + label.probability
    means = [ImageLabel(text, total / len(frames)) for text, total in sums.items()]
    return sorted(means, key=lambda label: -label.probability)


def _name(label: ImageLabel) -> str:
    """The first of a class's synonyms ("tabby, tabby cat" is "tabby")."""
    return plain(label.text.split(",", 1)[0])
