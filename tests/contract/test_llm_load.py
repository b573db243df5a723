"""The load generator that comes with vLLM, as ``make bench-llm`` calls it: its options, and what it writes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from fake_http_platform import FakeHttpPlatform, running
from tiny_blip2 import blip2_tokenizer

from benchmarks.llm_mixes import MIXES, requests
from benchmarks.llm_tool import figures, offered_load

pytest.importorskip("vllm", reason="the load generator is part of vLLM")


def test_the_tool_sends_what_the_mix_says_and_its_figures_are_read(tmp_path: Path) -> None:
    platform = FakeHttpPlatform()
    mix = replace(MIXES["native-50"], rate=50.0, tokens=7, ttft_ms=3_600_000, tpot_ms=3_600_000)
    contents = requests(mix, 0, 3)
    blip2_tokenizer().save_pretrained(tmp_path / "tokenizer")
    with running(platform) as url:
        found = offered_load(url, mix, contents, tmp_path / "tokenizer", tmp_path, seed=1)
    sent = platform.sent("chat/completions")
    assert sorted(str(body["messages"]) for body in sent) == sorted(
        str([{"role": "user", "content": content}]) for content in contents
    )
    assert {(body["model"], body["max_completion_tokens"], body["temperature"]) for body in sent} == {
        ("default", 7, 0.0)
    }
    assert (found["completed"], found["failed"], found["total_output_tokens"]) == (3, 0, 6)
    seen = figures(found)
    assert seen["goodput"] == pytest.approx(seen["requests_per_second"])  # every answer is within an hour
    assert 0 < seen["ttft_p50_ms"] <= seen["e2e_p50_ms"]
