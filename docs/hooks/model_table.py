"""The table of all models with their licences and memory, made of what their files say (``encoders/models``)."""

from __future__ import annotations

from collections.abc import Sequence

from encoders.registry import space, specs
from encoders.types import ModelSpec

__all__ = ["table"]

_TASKS = ("chat", "vision", "text", "speech", "ocr", "moderation", "voice")


def table() -> str:
    """One table for each task, in the order in which a question meets them."""
    found = specs()
    tasks = [*_TASKS, *sorted({spec.task for spec in found} - set(_TASKS))]
    parts = []
    for task in tasks:
        chosen = [spec for spec in found if spec.task == task]
        if chosen:
            parts.append(f"**{task}**\n\n{_rows(chosen)}")
    return "\n\n".join(parts)


def _rows(chosen: Sequence[ModelSpec]) -> str:
    lines = [
        "| name | licence | memory on the CPU, at most | dimensions, space | weights |",
        "|---|---|---|---|---|",
    ]
    for spec in chosen:
        memory = (
            f"{spec.memory_bytes / (1 << 20):,.0f} MiB" if spec.memory_bytes else "the engine's own bound"
        )
        dimensions = f"{spec.dimensions}, `{space(spec)}`" if spec.dimensions and spec.task != "chat" else ""
        weights = [f"package `{name}`" for name in spec.packages]
        if spec.hub_id:
            weights.append(f"hub `{spec.hub_id}`")
        lines.append(f"| `{spec.name}` | {spec.licence} | {memory} | {dimensions} | {', '.join(weights)} |")
    return "\n".join(lines)
