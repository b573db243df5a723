"""Scores as OpenAI's moderation results."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from encoders.moderation import ModerationScores
from serving.catalogue import ServedModel
from serving.moderation.policy import CATEGORIES, ModerationPolicy
from serving.protocol.moderations import ModerationResult

__all__ = ["other_scores", "result_of"]


def result_of(
    scores: ModerationScores, judges: Mapping[str, ServedModel], policy: ModerationPolicy
) -> ModerationResult:
    """The result of one input. ``judges`` are the models that saw it, by input type (``text``, ``image``).

    What no model judges scores 0, is not flagged, whatever the thresholds, and has no applied input types.
    """
    found = dict(scores.categories)
    applied: dict[str, Any] = {
        category: [kind for kind, model in judges.items() if category in _judged(model)]
        for category in CATEGORIES
    }
    values: dict[str, Any] = {
        category: found.get(category, 0.0) if applied[category] else 0.0 for category in CATEGORIES
    }
    flags: dict[str, Any] = {
        category: bool(applied[category]) and policy.reaches(category, values[category])
        for category in CATEGORIES
    }
    return ModerationResult.model_validate(
        {
            "flagged": any(flags.values()),
            "categories": flags,
            "category_scores": values,
            "category_applied_input_types": applied,
        }
    )


def other_scores(scores: ModerationScores) -> dict[str, float]:
    """What the models tell that is none of OpenAI's categories."""
    return {name: value for name, value in scores.categories if name not in CATEGORIES}


def _judged(model: ServedModel) -> Iterable[str]:
    return () if model.spec is None else model.spec.extra["categories"]
