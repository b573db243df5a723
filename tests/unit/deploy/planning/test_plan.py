"""Plans: figures everybody knows, what follows from what, and the rates that were measured."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from benchmarks.planning import measured_rate
from deploy.cli import app
from deploy.errors import UnusablePlan
from deploy.planning.load import Load, preset_names, read_load
from deploy.planning.plan import make_plan
from deploy.planning.rates import known_rates
from deploy.planning.report import as_json, as_text
from search.config import SearchConfig


def _plan(**changes: Any) -> Any:
    """Of a million texts that are kept for one day."""
    texts = {"items.per_day.text": 1e6, "items.per_day.image": 0, "items.per_day.video": 0}
    texts |= {"items.per_day.audio": 0, "items.retention_days": 1}
    return make_plan(
        read_load("laptop", None, texts | {name.replace("__", "."): v for name, v in changes.items()})
    )


def test_a_million_vectors_of_1536_numbers_take_6_gb_int8_a_quarter_and_binary_a_32nd() -> None:
    taken = {
        storage: _plan(vectors__dimensions=1536, vectors__storage=storage)["vector_bytes"]
        for storage in ("float32", "int8", "binary")
    }
    assert taken["float32"] == pytest.approx(6e9, rel=0.03)
    assert taken["int8"] == taken["float32"] / 4
    assert taken["binary"] == taken["float32"] / 32


def test_the_kind_of_index_follows_the_number_of_rows() -> None:
    kinds = {rows: _plan(items__per_day__text=rows).index_kind for rows in (1e3, 1e6, 2e7)}
    assert kinds == {1e3: "flat", 1e6: "ivf", 2e7: "ivf_pq"}
    assert _plan(vectors__storage="pq").index_kind == "ivf_pq"
    assert _plan(items__per_day__text=1e8, vectors__storage="int8").index_kind == "ivf"


def test_indexes_change_their_kind_where_search_does() -> None:
    planned, built = Load().vectors, SearchConfig(Path())
    assert (planned.flat_rows, planned.pq_rows) == (built.flat_rows, built.pq_rows)


def test_the_production_load_has_the_peaks_it_is_known_by() -> None:
    plan = make_plan(read_load("production", None, {}))
    assert plan["requests_per_day"] == 1e8
    assert plan["peak_requests_per_second"] == pytest.approx(3480, rel=0.01)
    assert plan["peak_streams"] == pytest.approx(31_000, rel=0.01)
    assert all(plan[f"cost_of_one_{kind}_request"] < 0.05 for kind in ("image", "video", "audio", "mixed"))


def test_cost_rules_leave_out_tiny_pictures_and_duplicates_and_shorten_what_is_worth_less() -> None:
    images = {"items__per_day__text": 0, "items__per_day__image": 1e6}
    plain = _plan(**images, vectors__dimensions=1024)
    ruled = _plan(
        **images,
        vectors__dimensions=1024,
        cost_rules={"tiny_image_share": 0.2, "duplicate_share": 0.5, "full_dimensions_share": 0.25},
    )
    assert ruled["rows"] == pytest.approx(plain["rows"] * 0.8 * 0.5)
    assert ruled["mean_dimensions"] == 0.25 * 1024 + 0.75 * 256
    assert ruled["vision_ingested_per_second"] == pytest.approx(plain["vision_ingested_per_second"] * 0.4)


def test_readers_follow_rate_and_memory_and_are_never_fewer_than_asked_for() -> None:
    few = _plan(searches__replicas=3, searches__per_day=10)
    fast = _plan(searches__replicas=1, searches__per_day=1e9, rates={"ivf": {"per_second": 2000, "cores": 2}})
    large = _plan(searches__replicas=2, searches__memory_per_reader_bytes=1e9)
    assert few["readers"] == 3
    assert fast["readers"] == math.ceil(1e9 / 86_400 * 3 / (1000 * 2 * 0.75))
    assert large["shards"] == math.ceil(large["memory_bytes"] / 0.9e9)
    assert large["readers"] == 2 * large["shards"]


@settings(max_examples=50, deadline=None)
@given(
    st.floats(0, 1e7),
    st.floats(1, 4000),
    st.sampled_from(("float32", "int8", "binary", "pq")),
    st.floats(1, 5),
)
def test_more_is_never_less(per_day: float, days: float, storage: str, factor: float) -> None:
    def plan(times: float) -> Any:
        return _plan(
            items__per_day__video=per_day * times,
            items__retention_days=days,
            vectors__storage=storage,
            vectors__pq_rows=10**15,  # or a larger index would be packed more tightly
            vectors__flat_rows=0,
            requests__per_day__video=per_day * times,
            prices={"gpu_hour": 2, "core_hour": 0.04},
        )

    some, more = plan(1.0), plan(factor)
    for name in (
        "rows",
        "memory_bytes",
        "object_bytes",
        "peak_gpus",
        "peak_cores",
        "readers",
        "cost_a_month",
    ):
        assert more[name] >= some[name]
        assert math.isfinite(more[name])


@pytest.mark.parametrize("preset", preset_names())
def test_every_figure_of_a_preset_is_shown_with_its_formula_or_its_source(preset: str) -> None:
    plan = make_plan(read_load(preset, None, {}))
    text, document = as_text(plan), as_json(plan)
    for figure in plan.figures:
        assert bool(figure.formula) != bool(figure.source)
        assert f"  {figure.name} " in text
        assert (figure.formula or figure.source) in text
        assert document["figures"][figure.name]["value"] == figure.value
    assert Load.model_validate(json.loads(json.dumps(document))["load"]) == plan.load


def test_measured_rates_are_those_in_the_results_of_the_benchmarks() -> None:
    checked = 0
    for by_model in known_rates().values():
        for model, rate in by_model.items():
            if rate.kind != "measured":
                continue
            file, _, place = rate.source.partition(" ")
            assert rate.per_second == pytest.approx(measured_rate(file, place), rel=0.1), model
            checked += 1
    assert checked >= 4


@pytest.mark.parametrize(
    ("load", "word"),
    [
        ("items: {per_day: {image: -1}}", "items.per_day.image"),
        ("item: 1", "item"),
        ("- 1", "mapping"),
        ("a: [", "YAML"),
        ("models: {vision: nobody-knows}", "nobody-knows"),
        ("vectors: {storage: float16}", "vectors.storage"),
    ],
)
def test_a_load_that_cannot_be_used_is_refused_by_name(tmp_path: Path, load: str, word: str) -> None:
    file = tmp_path / "load.yaml"
    file.write_text(load)
    with pytest.raises(UnusablePlan) as caught:
        make_plan(read_load("laptop", file, {}))
    assert word in caught.value.message
    assert str(tmp_path) not in caught.value.message


def test_the_command_plans_a_load_of_ones_own(tmp_path: Path) -> None:
    run = CliRunner().invoke
    shown = run(app, ["plan", "--preset", "production", "--show-load"])
    file = tmp_path / "load.yaml"
    file.write_text(shown.output)
    assert yaml.safe_load(shown.output)["name"] == "production"

    answer = run(
        app,
        ["plan", "--load", str(file), "--dimensions", "1536", "--storage", "int8", "--replicas", "4",
         "--set", "items.per_day.image=1e6", "--json"],
    )  # fmt: skip
    assert answer.exit_code == 0
    figures = json.loads(answer.output)["figures"]
    assert figures["dimensions"]["value"] == 1536
    assert figures["image_items_per_day"]["value"] == 1e6
    assert figures["readers"]["value"] >= 4
    assert "rows * mean_dimensions * bytes_per_dimension" in run(app, ["plan"]).output


@pytest.mark.parametrize("arguments", [["--preset", "moon"], ["--load", "/nowhere"], ["--set", "items"]])
def test_the_command_says_what_it_cannot_use(arguments: list[str]) -> None:
    answer = CliRunner().invoke(app, ["plan", *arguments])
    assert isinstance(answer.exception, UnusablePlan)
