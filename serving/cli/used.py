"""What an answer says it used of each medium (its ``manymodal`` object), in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

__all__ = ["describe_medium", "media_used"]

_MAX_TIMES = 24


def media_used(event: Any) -> list[dict[str, Any]]:
    """The media of an answer or of a stream's event, as the openai client gives it; most events have none."""
    extra = getattr(event, "model_extra", None) or {}
    report = extra.get("manymodal")
    return list(report.get("media", ())) if isinstance(report, dict) else []


def describe_medium(medium: Mapping[str, Any]) -> str:
    """One line: what was seen, read and heard, at which times, and what came from the cache."""
    facts = []
    if medium.get("labels"):
        facts.append(f"saw {_labels(medium['labels'][:3])}")
    if medium.get("ocr_lines"):
        facts.append(f"read {_count(medium['ocr_lines'], 'line')} of text")
    if frames := medium.get("frames"):
        times = ", ".join(f"{frame['time_seconds']:.1f}" for frame in frames[:_MAX_TIMES])
        facts.append(f"looked at {_count(len(frames), 'frame')} ({times} s)")
    if "seconds_heard" in medium:
        passages = _count(medium.get("transcript_segments", 0), "passage")
        facts.append(f"heard {medium['seconds_heard']:.1f} s, {passages} of speech")
    if "prompt_tokens" in medium:
        facts.append(f"{medium['prompt_tokens']} prompt tokens")
    if medium.get("left_out"):
        facts.append(f"left out: {'; '.join(medium['left_out'])}")
    if cache := medium.get("cache"):
        facts.append("cache: " + ", ".join(f"{task} {state}" for task, state in cache.items()))
    return f"{medium.get('kind', 'medium')}: {'; '.join(facts)}"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _labels(labels: Sequence[Mapping[str, Any]]) -> str:
    return ", ".join(f"{label['text']} {label['probability']:.0%}" for label in labels)
