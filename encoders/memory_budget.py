"""Whether the models of a profile fit into memory, said before hours of swapping say it."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from encoders.errors import ModelUnavailable
from encoders.types import ModelSpec

__all__ = ["available_bytes", "check_memory"]

_CGROUP = Path("/sys/fs/cgroup")
_MIB = 1 << 20


def check_memory(specs: Iterable[ModelSpec], budget_bytes: int) -> None:
    """Raise ``ModelUnavailable`` when what the models declare (``memory_bytes``) is more than the budget."""
    wanted = {spec.name: spec.memory_bytes for spec in specs}
    total = sum(wanted.values())
    if total <= budget_bytes:
        return
    each = ", ".join(
        f"{name} {size // _MIB} MiB" for name, size in sorted(wanted.items(), key=lambda one: -one[1])
    )
    raise ModelUnavailable(
        f"The encoders need {total // _MIB} MiB of memory and may use {budget_bytes // _MIB} MiB: {each}. "
        "Choose smaller models, free memory, or raise encoders.max_memory_bytes."
    )


def available_bytes(cgroup: Path = _CGROUP) -> int:
    """Memory that this process can still take: what the machine has free, within what its container may use."""
    import psutil

    return min([int(psutil.virtual_memory().available), *_left_to_container(cgroup)])


def _left_to_container(cgroup: Path) -> list[int]:
    """What is left under the control group's limit, version 2; empty without a limit."""
    try:
        limit = (cgroup / "memory.max").read_text(encoding="ascii").strip()
        used = int((cgroup / "memory.current").read_text(encoding="ascii"))
        # Cached files count as used but are given back when memory is wanted.
        facts = dict(
            line.split() for line in (cgroup / "memory.stat").read_text(encoding="ascii").splitlines()
        )
        return [int(limit) - used + int(facts.get("inactive_file", 0))] if limit != "max" else []
    except (OSError, ValueError):
        return []
