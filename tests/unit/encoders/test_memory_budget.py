"""Models that do not fit are refused before they are loaded."""

from __future__ import annotations

from pathlib import Path

import pytest

from encoders.errors import ModelUnavailable
from encoders.memory_budget import available_bytes, check_memory
from encoders.types import ModelSpec

MIB = 1 << 20


def spec(name: str, mebibytes: int) -> ModelSpec:
    return ModelSpec(name, "text", ("text",), 4, "MIT", "r", "1", memory_bytes=mebibytes * MIB)


def test_the_sum_must_fit() -> None:
    check_memory([], 0)
    check_memory([spec("small", 100), spec("large", 400)], 500 * MIB)
    with pytest.raises(
        ModelUnavailable, match=r"need 500 MiB.*may use 499 MiB: large 400 MiB, small 100 MiB"
    ):
        check_memory([spec("small", 100), spec("large", 400)], 500 * MIB - 1)


def test_containers_bound_what_is_free(tmp_path: Path) -> None:
    free = available_bytes(tmp_path / "no control groups")
    assert free > MIB
    (tmp_path / "memory.max").write_text(f"{30 * MIB}\n")
    (tmp_path / "memory.current").write_text(f"{25 * MIB}\n")
    (tmp_path / "memory.stat").write_text(f"anon 1\ninactive_file {3 * MIB}\n")
    assert available_bytes(tmp_path) == 8 * MIB
    (tmp_path / "memory.max").write_text("max\n")
    assert available_bytes(tmp_path) > 8 * MIB
