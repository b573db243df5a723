"""Open-loop load: what the mixes are made of, and what is kept of the tool's results."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks.goals import GOALS
from benchmarks.judgement import figure_at
from benchmarks.llm import _missed, _over_new, _told
from benchmarks.llm_mixes import KNOWN, MIXES, known_pictures, requests, write_requests
from benchmarks.llm_tool import FIGURES, LoadFailed, figures


def _pictures(contents: list[list[dict[str, Any]]]) -> list[str]:
    return [part["image_url"]["url"] for content in contents for part in content if "image_url" in part]


def test_known_pictures_come_again_and_new_ones_never() -> None:
    known = set(_pictures(known_pictures()))
    assert len(known) == KNOWN
    first, second = (requests(MIXES["native-50"], number, 12) for number in (0, 1))
    for contents in (first, second):
        seen = [picture in known for picture in _pictures(contents)]
        assert 2 <= sum(seen) <= 10
        new = [picture for picture in _pictures(contents) if picture not in known]
        assert len(new) == len(set(new))
    assert not (set(_pictures(first)) & set(_pictures(second))) - known
    assert _pictures(requests(MIXES["native-0"], 0, 3)) == _pictures(requests(MIXES["text-0"], 0, 3))
    assert not set(_pictures(requests(MIXES["native-0"], 0, 3))) & known


def test_words_are_new_each_time_and_the_same_for_both_servers(tmp_path: Path) -> None:
    once, again, later = (requests(MIXES["text"], number, 20) for number in (0, 0, 1))
    assert once == again
    words = [content[-1]["text"] for content in once + later]
    assert len(set(words)) == 40
    assert _pictures(once) == []
    write_requests(tmp_path / "x.jsonl", once)
    lines = (tmp_path / "x.jsonl").read_text("utf-8").splitlines()
    assert [json.loads(line)["content"] for line in lines] == once


def test_figures_need_answers() -> None:
    found = dict.fromkeys(FIGURES.values(), 1.5) | {"completed": 3, "num_prompts": 3}
    assert figures(found) == dict.fromkeys(FIGURES, 1.5)
    with pytest.raises(LoadFailed, match="none of 3 requests"):
        figures(found | {"completed": 0})


def test_ratios_goals_and_misses_of_made_up_rounds() -> None:
    ours = dict.fromkeys(FIGURES, 2.0)
    told = _told(
        MIXES["native-0"],
        {"platform": [ours, ours], "vllm": [dict.fromkeys(FIGURES, 1.0)] * 2},
        {"platform": 0, "vllm": 1},
    )
    assert told["ratios"]["goodput"]["median"] == told["ratios"]["ttft_p50"]["median"] == 2.0
    assert _missed("native-0", told) == ["native-0: TTFT 2.00 times vLLM's"]
    document = {"mixes": dict.fromkeys(MIXES, told)}
    for goal in GOALS:
        if goal.benchmark == "llm":
            figure_at(document, goal.where, goal)  # raises with the path
    nothing = _told(MIXES["text"], {"platform": [ours], "vllm": [ours | {"goodput": 0.0}]}, {"platform": 2})
    assert len(_missed("text", nothing)) == 2
    halved = _over_new({"platform": [dict.fromkeys(FIGURES, 1.0)]}, {"platform": [ours]})
    assert halved["platform"]["ttft_p50"]["median"] == 0.5
    alone = _told(MIXES["text-50"], {"platform": [ours]}, {"platform": 0})
    assert "ratios" not in alone
    assert _missed("text-50", alone) == []
