"""One benchmark as a process: what counts as measured, limits, and that nothing is left behind."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import psutil
import pytest

from benchmarks.__main__ import main
from benchmarks.runner import run

WRITES = "import os, pathlib, sys; pathlib.Path(os.environ['RESULT']).write_text('{}'); sys.exit(%d)"


@pytest.mark.parametrize(("code", "outcome"), [(0, "measured"), (1, "measured"), (2, "failed")])
def test_what_wrote_its_result_is_measured_even_when_it_missed_its_goals(
    tmp_path: Path, code: int, outcome: str
) -> None:
    result = tmp_path / "x.json"
    ended = run("x", ["-c", WRITES % code], result, 60, {"RESULT": str(result)})
    assert ended.outcome == outcome


def test_a_result_of_an_earlier_run_does_not_count(tmp_path: Path) -> None:
    result = tmp_path / "x.json"
    result.write_text("{}")
    old = time.time() - 3600
    os.utime(result, (old, old))
    ended = run("x", ["-c", "raise SystemExit(1)"], result, 60)
    assert ended.outcome == "failed"
    assert "wrote no result" in ended.why


def test_what_takes_too_long_is_interrupted_and_nothing_of_it_is_left(tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    server = (
        "import pathlib, subprocess, sys, time; "
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'], start_new_session=True); "
        f"pathlib.Path({str(pid)!r}).write_text(str(child.pid)); time.sleep(600)"
    )
    for limit_seconds in (1, 4, 16, 64):  # a busy machine may take its time to begin
        ended = run("x", ["-c", server], tmp_path / "x.json", limit_seconds, stop_seconds=30)
        assert ended.outcome == "too slow"
        if pid.exists():
            break
    assert not psutil.pid_exists(int(pid.read_text()))


@pytest.mark.parametrize("ending", ["sys.exit(2)", "os.kill(os.getpid(), signal.SIGKILL)"])
def test_what_ends_by_itself_leaves_nothing_either(tmp_path: Path, ending: str) -> None:
    """A server of a benchmark that broke would run beside all that is measured after it."""
    pid = tmp_path / "pid"
    server = (
        "import os, pathlib, signal, subprocess, sys; "
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'], start_new_session=True); "
        f"pathlib.Path({str(pid)!r}).write_text(str(child.pid)); {ending}"
    )
    assert run("x", ["-c", server], tmp_path / "x.json", 600).outcome == "failed"
    assert not psutil.pid_exists(int(pid.read_text()))


def test_unknown_names_are_refused_and_known_ones_listed(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--only", "nonsense"])
    assert "no benchmark is named nonsense" in capsys.readouterr().err
    assert main(["--list", "cache"]) == 0
    assert "cache hits in memory and Valkey" in capsys.readouterr().out
    assert sys.modules["benchmarks.__main__"].QUICK_RESULTS.parts[0] == "dist"
