"""`manymodal bench` against a fake platform over real HTTP."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import httpx
import openai
import pytest
from fake_http_platform import FakeHttpPlatform
from typer.testing import Result

from serving.cli.bench import Answered, Load, percentile, summary
from serving.cli.exit_codes import ExitCode

Cli = Callable[..., Result]


def test_bench_asks_as_often_as_it_says_and_counts(cli: Cli, platform: FakeHttpPlatform) -> None:
    result = cli("bench", "-n", "5", "-c", "2", "--max-tokens", "7", "--json")
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert (found["answered"], found["completion_tokens"], found["failed"]) == (5, 10, {})
    assert set(found["ttft_seconds"]) == {"p50", "p95", "max"}
    sent = platform.sent("chat/completions")
    assert len(sent) == 6  # one of them before, unmeasured
    assert (
        len({body["messages"][0]["content"][0]["text"] for body in sent}) == 6
    )  # nothing is answered from a cache
    assert {body["max_tokens"] for body in sent} == {7}


def test_bench_prints_a_table(cli: Cli) -> None:
    result = cli("bench", "-n", "2")
    assert result.exit_code == 0
    assert "First token" in result.stdout
    assert "tokens/s" in result.stdout
    assert "2 answers" in result.stderr


def test_what_does_not_work_at_all_is_said_before_the_load(cli: Cli, platform: FakeHttpPlatform) -> None:
    platform.refusals["chat/completions"] = (404, {"message": "None.", "code": "model_not_found"})
    result = cli("bench", "-n", "50", "--model", "other")
    assert result.exit_code == ExitCode.REFUSED
    assert platform.requests == []


def test_answers_that_break_off_are_counted(cli: Cli, platform: FakeHttpPlatform) -> None:
    platform.break_off_after = 1
    result = cli("bench", "-n", "3", "-c", "1", "--json")
    assert result.exit_code == ExitCode.FAILED
    assert json.loads(result.stdout)["failed"] == {"The model stopped.": 3}
    assert "3 failed: The model stopped." in result.stderr


def test_answers_that_come_too_late_are_counted(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    async def ask(client: openai.AsyncOpenAI, load: Load, number: int) -> Answered:
        if number == 2:
            raise openai.APITimeoutError(httpx.Request("POST", str(client.base_url)))
        return Answered(0.1, 0.2, 3)

    monkeypatch.setattr("serving.cli.bench._ask", ask)
    result = cli("bench", "-n", "4", "-c", "1", "--json")
    assert result.exit_code == ExitCode.FAILED
    found = json.loads(result.stdout)
    ((message, count),) = found["failed"].items()
    assert (found["answered"], count) == (3, 1)
    assert "did not answer in time" in message


def test_figures_of_answers() -> None:
    found = summary([Answered(0.1, 1.1, 11), Answered(0.3, 0.3, 1)], 2.0)
    assert (found["completion_tokens"], found["tokens_per_second"], found["requests_per_second"]) == (
        12,
        6.0,
        1.0,
    )
    assert found["ttft_seconds"] == {"p50": 0.1, "p95": 0.3, "max": 0.3}
    assert found["itl_seconds"]["max"] == pytest.approx(0.1)  # an answer of one token has none
    assert summary([], 1.0)["ttft_seconds"] is None
    assert [percentile([3.0, 1.0, 2.0, 4.0], share) for share in (0.0, 0.25, 0.5, 0.75, 0.95, 1.0)] == [
        1,
        1,
        2,
        3,
        4,
        4,
    ]


def test_benchmarks_of_a_checkout_run_by_name(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[list[str]] = []

    def run(command: list[str], **_: object) -> subprocess.CompletedProcess[bytes]:
        """In place of real benchmarks, which take half an hour and the whole machine."""
        started.append(command[1:])
        return subprocess.CompletedProcess(command, 3)

    monkeypatch.setattr("serving.cli.bench.subprocess.run", run)
    result = cli("bench", "chat")
    assert result.exit_code == ExitCode.UNUSABLE
    assert "are in the repository" in result.stderr
    folder = Path("benchmarks")  # of the folder that the fixture made
    folder.mkdir()
    for name in ("__init__.py", "__main__.py"):
        (folder / name).touch()
    assert cli("bench", "chat", "cache").exit_code == 3
    assert cli("bench", "list").exit_code == 3
    assert started == [["-m", "benchmarks", "chat", "cache"], ["-m", "benchmarks", "--list"]]
