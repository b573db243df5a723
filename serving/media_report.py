"""What an answer says about the media it used: the ``manymodal`` object and the additions to ``usage``."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from encoders.types import ImageLabel, MediaKind
from fusion.timeline import timeline_of
from fusion.types import PerceivedMedium
from serving.perceiver import Perceived
from serving.strategies.strategy import Block, PlacedBlock

__all__ = ["MediaReport", "media_used", "missing_of"]

_MAX_LABELS = 5


class MediaReport:
    """Built once per chat request with media, then put on the answer."""

    def __init__(self, perceived: Sequence[Perceived], blocks: Sequence[Block]) -> None:
        self.manymodal: dict[str, Any] = {
            "media": [_medium(item, block) for item, block in zip(perceived, blocks, strict=True)]
        }
        if missing := missing_of(perceived):
            self.manymodal["degraded"] = missing
        self._tokens = {f"{kind.value}_tokens": 0 for kind in MediaKind}
        seconds = 0.0
        for item, block in zip(perceived, blocks, strict=True):
            self._tokens[f"{item.medium.info.kind.value}_tokens"] += block.tokens
            if item.medium.info.kind is not MediaKind.IMAGE:  # an animation that was looked at as a picture
                seconds += item.medium.duration_seconds or 0.0
        tiers = [tier for item in perceived for tier in item.tiers.values()]
        self._media_usage = {
            "seconds": round(seconds, 3),
            "cache_hits": sum(tier != "miss" for tier in tiers),
            "cache_misses": sum(tier == "miss" for tier in tiers),
        }

    def extend_usage(self, usage: dict[str, Any]) -> dict[str, Any]:
        """``usage`` of the engine with tokens per modality, media seconds and cache hits."""
        details = dict(usage.get("prompt_tokens_details") or {})
        details.update(self._tokens)
        prompt = usage.get("prompt_tokens")
        if isinstance(prompt, int):
            details["text_tokens"] = max(0, prompt - sum(self._tokens.values()))
        return {**usage, "prompt_tokens_details": details, "media": self._media_usage}


def media_used(perceived: Sequence[Perceived]) -> dict[str, Any]:
    """The ``manymodal`` object of an answer that has no prompt."""
    missing = missing_of(perceived)
    return {"media": [_facts(item) for item in perceived], **({"degraded": missing} if missing else {})}


def missing_of(perceived: Iterable[Perceived]) -> list[str]:
    """What is lacking of media because a part of the platform is down."""
    return sorted({task for item in perceived for task in item.missing})


def _medium(item: Perceived, block: Block) -> dict[str, Any]:
    pieces = block.pieces if isinstance(block, PlacedBlock) else None
    entry = {**_facts(item, pieces), "prompt_tokens": block.tokens}
    if pieces is not None and item.medium.info.kind is MediaKind.IMAGE:
        entry["views"] = len(pieces)
    if block.cut:
        entry["left_out"] = list(block.cut)
    return entry


def _facts(item: Perceived, pieces: Sequence[int] | None = None) -> dict[str, Any]:
    """What is known of a medium. Of a video's frames only ``pieces`` are told, where these stand in a prompt."""
    medium = item.medium
    entry: dict[str, Any] = {"id": medium.id, "kind": medium.info.kind.value}
    if medium.image is not None:
        entry["labels"] = _labels(medium.image.labels)
    if "ocr" in item.tiers:
        entry["ocr_lines"] = len(medium.text_lines)
    looked_at = medium.video if medium.video is not None else medium.soft
    if looked_at is not None and medium.info.kind is MediaKind.VIDEO:
        frames = _frames(medium)
        entry["frames"] = frames if pieces is None else [frames[index] for index in pieces]
        entry["near_duplicate_frames"] = looked_at.near_duplicates
        if looked_at.scene_changes_seconds:
            entry["scene_changes_seconds"] = [round(time, 3) for time in looked_at.scene_changes_seconds]
    if medium.transcript is not None:
        entry["seconds_heard"] = round(medium.transcript.duration_seconds, 3)
        entry["transcript_segments"] = len(medium.transcript.segments)
    entry["cache"] = {task: "miss" if tier == "miss" else "hit" for task, tier in sorted(item.tiers.items())}
    return entry


def _frames(medium: PerceivedMedium) -> list[dict[str, Any]]:
    """Frames looked at, each with the stretch of time it stands for and what is said then."""
    if medium.video is not None:
        seen: list[dict[str, Any]] = [
            {"time_seconds": frame.time_seconds, "reason": frame.reason, "labels": _labels(frame.labels)}
            for frame in medium.video.frames
        ]
    elif medium.soft is not None:
        soft = medium.soft
        seen = [
            {"time_seconds": time, "reason": reason}
            for time, reason in zip(soft.times_seconds, soft.reasons, strict=True)
        ]
    else:
        return []
    for row in timeline_of(medium).rows():
        if row.shot is None:
            continue
        for frame in row.shot.frames:
            seen[frame] |= {"start_seconds": row.shot.start_seconds, "end_seconds": row.shot.end_seconds}
            if medium.transcript is not None:
                seen[frame]["said"] = " ".join(passage.text for passage in row.said)
    return [
        {name: round(value, 3) if isinstance(value, float) else value for name, value in frame.items()}
        for frame in seen
    ]


def _labels(labels: Sequence[ImageLabel]) -> list[dict[str, Any]]:
    return [
        {"text": label.text, "probability": round(label.probability, 4)} for label in labels[:_MAX_LABELS]
    ]
