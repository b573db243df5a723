"""`manymodal up`, `down`, `status` and `logs`, with a small server in place of the platform."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from typer.testing import CliRunner, Result

from deploy import up_command
from deploy.cli import app
from deploy.errors import AlreadyRunning, NotHere, NotStopped, PlatformStartFailed
from deploy.log_tail import last_lines, new_lines
from deploy.logs_command import deployment_logs
from deploy.ports import free_port
from deploy.running_record import (
    RunningRecord,
    forget_running,
    note_running,
    one_starts,
    process_of,
    read_running,
)
from deploy.settings import Settings, load_settings
from deploy.up_command import started_platform, stop_platform

SERVER = """
import http.server, json, signal, subprocess, sys
port, state, stubborn = int(sys.argv[1]), sys.argv[2], sys.argv[3:] == ["stubborn"]
class Answers(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = {"status": state, "deployments": {"engine": "ready"}}
        if self.path == "/v1/admin/pools":
            calls = {"ongoing": 1, "answered": 7, "failed": 0, "latency_seconds": {"p50": 0.25, "p95": 0.5}}
            pool = {"name": "engine", "health": "healthy", "replicas": {"running": 1}, "calls": calls}
            body = {"data": [pool, {**pool, "name": "gateway", "calls": None}]}
        self.send_response(503 if state == "starting" and self.path == "/ready" else 200)
        self.end_headers()
        self.wfile.write(json.dumps(body).encode())
    def log_message(self, *_): pass
below = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
def stop(*_):
    print("draining", flush=True)
    if not stubborn:
        below.kill()
        sys.exit(0)
signal.signal(signal.SIGTERM, stop)
server = http.server.ThreadingHTTPServer(("127.0.0.1", port), Answers)
print("listening", flush=True)
server.serve_forever()
"""


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    made = load_settings({"data_dir": tmp_path / "data", "port": free_port()})
    made.make_data_dir()
    (made.data_dir / "run").mkdir()
    return made


@pytest.fixture(autouse=True)
def nothing_stays(settings: Settings) -> Iterator[None]:
    yield
    for child in psutil.Process().children(recursive=True):
        if SERVER in child.cmdline() or "import time; time.sleep(600)" in child.cmdline():
            child.kill()
            child.wait(10)


def server(settings: Settings, state: str = "ready", *more: str) -> list[str]:
    return [sys.executable, "-S", "-c", SERVER, str(settings.port), state, *more]


def run(settings: Settings, *arguments: str) -> Result:
    return CliRunner().invoke(app, [*arguments, "--data-dir", str(settings.data_dir)])


def test_a_life_in_the_background(settings: Settings) -> None:
    said: list[str] = []
    record, child = started_platform(server(settings), settings, said.append)
    assert said == ["listening"]
    assert read_running(settings.data_dir) == record

    shown = run(settings, "status", "--json")
    assert shown.exit_code == 0, shown.output
    found = json.loads(shown.stdout)
    assert (found["state"], found["pid"], found["url"]) == ("ready", record.pid, record.url)
    assert found["processes"] == 2
    assert found["memory_bytes"] > 1 << 20
    assert found["pools"][0]["calls"]["answered"] == 7
    table = run(settings, "status").stdout
    assert "engine" in table
    assert "250 ms" in table

    assert run(settings, "logs").stdout == "listening\n"
    assert json.loads(run(settings, "logs", "--json", "-n", "1").stdout) == {
        "file": "serve.log",
        "line": "listening",
    }
    refused = run(settings, "up")
    assert isinstance(refused.exception, AlreadyRunning)
    assert record.url in refused.exception.message

    (below,) = psutil.Process(record.pid).children()
    stopped = run(settings, "down", "--json")
    child.wait(30)
    assert json.loads(stopped.stdout)["stopped"] is True
    assert not psutil.pid_exists(below.pid) or below.status() == psutil.STATUS_ZOMBIE
    assert read_running(settings.data_dir) is None
    assert run(settings, "logs").stdout.endswith("draining\n")  # what it said stays
    assert run(settings, "status").exit_code == 3
    again = run(settings, "down")
    assert (again.exit_code, "No platform runs" in again.stderr) == (0, True)


def test_one_that_does_not_come_up_is_told_with_its_last_words(settings: Settings) -> None:
    command = [sys.executable, "-S", "-c", "print('The [port] is taken.'); raise SystemExit(3)"]
    with pytest.raises(PlatformStartFailed, match="exit code 3") as failure:
        started_platform(command, settings, lambda line: None)
    assert "The [port] is taken." in failure.value.message
    assert "manymodal doctor" in failure.value.message
    assert read_running(settings.data_dir) is None


def test_one_that_hangs_is_stopped(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(up_command, "_START_MARGIN_SECONDS", -float(settings.start_timeout_seconds))
    seen: list[int] = []

    def note(line: str) -> None:
        record = read_running(settings.data_dir)
        assert record is not None
        seen.append(record.pid)

    with pytest.raises(PlatformStartFailed, match="not ready in time"):
        started_platform(server(settings, "starting"), settings, note)
    assert not any(map(psutil.pid_exists, seen))
    assert read_running(settings.data_dir) is None


def test_ctrl_c_while_it_starts_leaves_nothing(settings: Settings) -> None:
    pids: list[int] = []

    def interrupted(line: str) -> None:
        record = read_running(settings.data_dir)
        assert record is not None
        pids.append(record.pid)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        started_platform(server(settings, "starting"), settings, interrupted)
    assert pids
    assert not psutil.pid_exists(pids[0])
    assert read_running(settings.data_dir) is None


def test_what_does_not_stop_is_killed_only_when_that_is_asked_for(settings: Settings) -> None:
    record, child = started_platform(server(settings, "ready", "stubborn"), settings, lambda line: None)
    with pytest.raises(NotStopped, match="still runs"):
        stop_platform(settings.data_dir, record, 0.2, now=False)
    assert read_running(settings.data_dir) == record
    (below,) = psutil.Process(record.pid).children()
    stop_platform(settings.data_dir, record, 0.2, now=True)
    child.wait(30)
    assert read_running(settings.data_dir) is None
    assert not below.is_running() or below.status() == psutil.STATUS_ZOMBIE


def test_what_is_below_one_that_ends_by_itself_is_stopped_too(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    record, child = started_platform(server(settings), settings, lambda line: None)
    (below,) = psutil.Process(record.pid).children()

    def ends_before(process: psutil.Process, number: int) -> None:
        process.kill()
        process.wait(30)
        raise psutil.NoSuchProcess(process.pid)

    monkeypatch.setattr(psutil.Process, "send_signal", ends_before)
    stop_platform(settings.data_dir, record, 0.2, now=True)
    child.wait(30)
    assert not below.is_running() or below.status() == psutil.STATUS_ZOMBIE


def test_status_of_one_that_is_not_ready_and_of_nobody(settings: Settings) -> None:
    child = subprocess.Popen(server(settings, "starting"), stdout=subprocess.PIPE)
    try:
        assert child.stdout is not None
        assert child.stdout.readline() == b"listening\n"
        url = f"http://127.0.0.1:{settings.port}"
        elsewhere = run(settings, "status", "--url", url, "--json")
        assert elsewhere.exit_code == 1
        found = json.loads(elsewhere.stdout)
        assert (found["state"], found["deployments"], found["pid"]) == ("starting", {"engine": "ready"}, None)
    finally:
        child.terminate()
        child.communicate(timeout=30)
    nobody = run(settings, "status")
    assert nobody.exit_code == 3
    assert "manymodal up" in nobody.stdout
    assert run(settings, "status", "--api-key", "kéy").exit_code == 2


def test_a_state_that_no_platform_has_is_another_programs(settings: Settings) -> None:
    child = subprocess.Popen(server(settings, "fine"), stdout=subprocess.PIPE)
    try:
        assert child.stdout is not None
        assert child.stdout.readline() == b"listening\n"
        assert run(settings, "status").exit_code == 3
    finally:
        child.terminate()
        child.communicate(timeout=30)


def test_a_process_id_that_was_given_to_another_is_not_the_platform(settings: Settings) -> None:
    me = psutil.Process()
    record = RunningRecord.of(me, "http://127.0.0.1:1", "laptop", None)
    assert process_of(record) == me
    note_running(settings.data_dir, RunningRecord(me.pid, record.began_at - 60, record.machine, "", "", None))
    assert read_running(settings.data_dir) is None
    note_running(settings.data_dir, RunningRecord(me.pid, record.began_at, "another", "", "", None))
    assert read_running(settings.data_dir) is None
    note_running(settings.data_dir, record)
    forget_running(settings.data_dir, me.pid + 1)
    assert read_running(settings.data_dir) == record
    forget_running(settings.data_dir, me.pid)
    assert read_running(settings.data_dir) is None
    (settings.data_dir / "run" / "platform.json").write_text('{"half', "utf-8")
    assert read_running(settings.data_dir) is None
    assert record.machine == platform.node()


def test_only_one_starts_at_a_time(settings: Settings) -> None:
    with one_starts(settings.data_dir), pytest.raises(AlreadyRunning), one_starts(settings.data_dir):
        pytest.fail("must not start")
    with one_starts(settings.data_dir):
        pass


def test_up_and_logs_say_where_they_are_wrong(settings: Settings) -> None:
    nothing = run(settings, "logs")
    assert isinstance(nothing.exception, NotHere)
    assert "manymodal up" in nothing.exception.message
    assert isinstance(run(settings, "logs", "gateway").exception, NotHere)
    joined = CliRunner().invoke(
        app, ["up", "--data-dir", str(settings.data_dir)], env={"MANYMODAL_RAY_ADDRESS": "auto"}
    )
    assert joined.exit_code != 0


def test_logs_of_replicas_are_told_by_what_stands_at_their_beginning(tmp_path: Path) -> None:
    logs = tmp_path / "logs"
    logs.mkdir()
    for number, actor in enumerate(
        ("ServeReplica:manymodal:gateway", "ServeController", "ServeReplica:manymodal:ocr")
    ):
        (logs / f"worker-{number}.err").write_text(f":job_id:1\n:actor_name:{actor}\nline\n", "utf-8")
        os.utime(logs / f"worker-{number}.err", (time.time(), number))
    assert [(name, file.name) for name, file in deployment_logs(tmp_path)] == [
        ("gateway", "worker-0.err"),
        ("ocr", "worker-2.err"),
    ]


def test_ends_of_files(tmp_path: Path) -> None:
    file = tmp_path / "log"
    assert last_lines(file, 5) == []
    assert new_lines(file, 0) == ([], 0)
    file.write_text("".join(f"{number:06}\n" for number in range(50_000)), "utf-8")
    assert last_lines(file, 3) == ["049997", "049998", "049999"]
    assert last_lines(file, 2, 14) == ["000000", "000001"]
    assert len(last_lines(file, 20_000)) == 20_000
    assert last_lines(file, 0) == []
    assert len(last_lines(file, 10**6)) == 50_000
    _, place = new_lines(file, 0)
    assert place == file.stat().st_size
    with file.open("ab") as lines:
        lines.write(b"whole\nha")
    found, place = new_lines(file, place)
    assert found == ["whole"]
    with file.open("ab") as lines:
        lines.write(b"lf\n")
    assert new_lines(file, place)[0] == ["half"]
    file.write_bytes(b"anew\n")  # shorter than before
    assert new_lines(file, place)[0] == ["anew"]
