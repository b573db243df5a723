"""Every parser of ours over what once broke it, variations of that, and for some seconds over made-up bytes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from fuzz.target import CORPUS, mutations
from fuzz.targets import TARGETS

TESTS = Path(__file__).parents[1]


@pytest.mark.parametrize("name", TARGETS)
def test_seeds_findings_and_variations(name: str) -> None:
    target = TARGETS[name]
    inputs = list(target.inputs())
    for data in (b"", *inputs, *mutations(inputs, 300)):
        target.run(data)


def test_every_finding_belongs_to_a_target() -> None:
    assert {folder.name for folder in CORPUS.iterdir()} <= set(TARGETS)


def test_some_seconds_of_made_up_bytes_find_nothing(tmp_path: Path) -> None:
    """All targets in one process, guided by coverage; ``make fuzz`` takes longer, for each alone."""
    pytest.importorskip("atheris", reason="atheris has no wheels for this machine")
    ran = _run("--seconds", "3", "--findings", str(tmp_path), "together")
    assert ran.returncode == 0, ran.stdout
    assert "nothing found" in ran.stdout
    assert int(ran.stdout.split()[1]) > 1000


def test_a_finding_is_told_and_kept(tmp_path: Path) -> None:
    pytest.importorskip("atheris", reason="atheris has no wheels for this machine")
    code = (
        "import sys; from pathlib import Path; from fuzz.run import fuzz; from fuzz.target import Target\n"
        "def run(data):\n"
        "    assert data[:2] != b'no'\n"
        f"fuzz(Target('broken', run, (b'nn',)), 60, Path({str(tmp_path)!r}))\n"
    )
    ran = subprocess.run([sys.executable, "-c", code], env=_environment(), capture_output=True, timeout=100)
    assert ran.returncode != 0
    assert b"AssertionError" in ran.stdout + ran.stderr
    assert [file.read_bytes()[:2] for file in tmp_path.iterdir()] == [b"no"]


def _environment() -> dict[str, str]:
    return os.environ | {"PYTHONPATH": f"{TESTS}:{TESTS.parent}"}


def _run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "fuzz.run", *arguments]
    return subprocess.run(command, env=_environment(), capture_output=True, text=True, timeout=110)
