"""Dashboards and alerts ask for metrics that there are, with labels that they have."""

from __future__ import annotations

import base64
import re
from types import SimpleNamespace

import openai
import promql_parser
import pytest
import yaml
from dashboards import FOLDER, alerts, dashboards, panels, queries
from fake_services import fake_png
from prometheus_client import CollectorRegistry, generate_latest
from promql import exposed, missing, selected

from encoders.batching.batch_metrics import BatchMetrics
from encoders.batching.micro_batcher import BatchFacts
from serving.housekeeping import HousekeepingMetrics
from serving.machine_metrics import MachineMetrics
from serving.metrics import GatewayMetrics
from serving.moderation.gate import ModerationGate
from serving.pool_calls import CallStatistics, PoolCalls
from serving.pool_metrics import PoolMetrics
from storage.redis import RedisCache

DURATION = re.compile(r"\d+[smhd]")


class FakeNvml:
    """One GPU."""

    NVMLError = OSError

    def nvmlDeviceGetCount(self) -> int:  # noqa: N802 - NVIDIA's name
        return 1

    def nvmlDeviceGetHandleByIndex(self, index: int) -> int:  # noqa: N802 - NVIDIA's name
        return index

    def nvmlDeviceGetMemoryInfo(self, handle: int) -> SimpleNamespace:  # noqa: N802 - NVIDIA's name
        return SimpleNamespace(used=1 << 30, total=4 << 30)

    def nvmlDeviceGetUtilizationRates(self, handle: int) -> SimpleNamespace:  # noqa: N802 - NVIDIA's name
        return SimpleNamespace(gpu=75)


class FakePools:
    """A gateway that has called a deployment."""

    def calls(self) -> dict[str, CallStatistics]:
        return {"engine": PoolCalls("engine", "The model").statistics()}


async def traffic(client: openai.AsyncOpenAI) -> None:
    """A bit of everything that the gateway counts."""
    url = f"data:image/png;base64,{base64.b64encode(fake_png()).decode()}"
    messages = [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": url}}]}]
    await client.chat.completions.create(model="default", messages=messages)
    stream = await client.chat.completions.create(model="default", messages=messages, stream=True)
    async for _ in stream:
        pass
    await client.embeddings.create(model="all-minilm-l6-v2", input="one")
    with pytest.raises(openai.BadRequestError):
        await client.chat.completions.create(model="default", messages=[])


def beside(platform) -> bytes:
    """Expositions of what the platform of this test has not: encoders, Redis, a GPU, failures."""
    encoders = CollectorRegistry()
    BatchMetrics(encoders).observer("image")(BatchFacts(2, 7, (0.1, 0.2), 0.3, 0))
    troubled = CollectorRegistry()
    kept = HousekeepingMetrics(troubled)
    kept.failures.labels("expired").inc()
    kept.removed.labels("expired").inc()
    troubled.register(MachineMetrics(nvml=FakeNvml()))
    troubled.register(PoolMetrics(FakePools()))
    gate = ModerationGate(
        platform.gateway.tenants, platform.gateway.scoring, platform.gateway.perceiver, troubled
    )
    gate._refused.labels("chat_input", "violence").inc()
    redis = GatewayMetrics()
    redis.degraded.labels("ocr").inc()
    redis.watch(platform.storage.derived, platform.storage.vectors, RedisCache("redis://127.0.0.1:1"))
    return b"".join(generate_latest(one) for one in (encoders, troubled, redis.registry))


async def test_every_query_names_metrics_and_labels_that_there_are(platform, client, http):
    await traffic(client)
    body = (await http.get("/metrics")).text
    there = exposed(body)
    for name, labels in exposed(beside(platform).decode()).items():
        there.setdefault(name, set()).update(labels)
    wrong = {
        place: found for place, query in queries().items() if (found := missing(query, there, ["manymodal_"]))
    }
    assert wrong == {}
    assert len(queries()) > 60
    asked = {one.name for query in queries().values() for one in selected(query)}
    counted = {name.removesuffix("_created") for name in there if name.startswith("manymodal_")}
    unseen = {
        name
        for name in counted
        if not any(one.startswith(name.removesuffix("_total")) or name.startswith(one) for one in asked)
    }
    # What no panel shows is said here, so that a new metric is not forgotten.
    assert {name for name in unseen if not name.endswith(("_bucket", "_sum", "_count", "_total"))} <= {
        "manymodal_cache_answers",
        "manymodal_cache_entries",
        "manymodal_cache_evictions",
        "manymodal_cache_expirations",
        "manymodal_cache_rejected",
        "manymodal_cache_redis_corrupt",
        "manymodal_cache_redis_hits",
        "manymodal_cache_redis_misses",
        "manymodal_cache_redis_oversized",
        "manymodal_cache_redis_skipped",
        "manymodal_cache_redis_timeouts",
        "manymodal_encoder_batch_cost",
        "manymodal_audit_entries",
        "manymodal_housekeeping_runs",
    }


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("rate(manymodal_requests_totals[5m])", ["no metric manymodal_requests_totals"]),
        ("sum by (model) (manymodal_tokens_total)", ["manymodal_tokens_total has no label ['model']"]),
        ('manymodal_tokens_total{way="in"}', ["manymodal_tokens_total has no label ['way']"]),
        ("sum(manymodal_tokens_total) / up", []),
    ],
)
def test_a_wrong_query_is_found(query: str, words: list[str]) -> None:
    assert missing(query, {"manymodal_tokens_total": {"direction"}}, ["manymodal_"]) == words


def test_legends_name_labels_that_their_queries_leave():
    for name, dashboard in dashboards().items():
        for panel in panels(dashboard):
            for target in panel.get("targets", ()):
                shown = set(re.findall(r"{{(\w+)}}", target["legendFormat"]))
                kept = set.intersection(*({*one.labels} for one in selected(target["expr"])))
                assert shown <= kept, f"{name}: {panel['title']}"


def test_dashboards_are_what_grafana_imports():
    assert dashboards()
    for dashboard in dashboards().values():
        assert {"uid", "title", "schemaVersion", "panels", "templating"} <= dashboard.keys()
        variables = {f"${{{one['name']}}}" for one in dashboard["templating"]["list"]}
        ids = [panel["id"] for panel in panels(dashboard)]
        assert len(set(ids)) == len(ids)
        places = set()
        for panel in panels(dashboard):
            place = panel["gridPos"]
            assert place["x"] + place["w"] <= 24
            assert (place["x"], place["y"]) not in places
            places.add((place["x"], place["y"]))
            if panel["type"] != "row":
                assert panel["targets"]
                assert panel["description"]
                assert panel["datasource"]["uid"] in variables


def test_alerts_are_what_prometheus_loads():
    names = [rule["alert"] for rule in alerts()]
    assert len(set(names)) == len(names)
    for rule in alerts():
        assert rule.keys() <= {"alert", "expr", "for", "labels", "annotations"}
        assert rule["labels"].keys() == {"severity"}
        assert rule["annotations"].keys() == {"summary", "description"}
        assert DURATION.fullmatch(rule.get("for", "1m"))
        # An expression without a comparison would always fire.
        assert isinstance(promql_parser.parse(rule["expr"]), promql_parser.BinaryExpr)
        kept = set().union(*(one.labels for one in selected(rule["expr"])))
        words = " ".join(rule["annotations"].values())
        assert set(re.findall(r"\$labels\.(\w+)", words)) <= kept | {"instance"}


async def test_promises_are_bounds_of_their_histograms(platform, client, http):
    """Between two bounds Prometheus guesses: all at 11 ms would look like 24, where the next bound is 25."""
    await traffic(client)
    text = (await http.get("/metrics")).text + beside(platform).decode()
    asked = [
        (found[1], float(found[2]))
        for rule in alerts()
        if (found := re.fullmatch(r"histogram_quantile\(.*?\((\w+_bucket)\b.*\) > ([\d.]+)", rule["expr"]))
    ]
    assert len(asked) >= 8
    for name, promised in asked:
        bounds = {float(one) for one in re.findall(name + r'{[^}]*\ble="([^"]+)"', text)}
        assert promised in bounds, name


def test_numbers_of_statuses_are_rays():
    from ray.serve.schema import DeploymentStatus

    (rule,) = (one for one in alerts() if one["alert"] == "DeploymentUnhealthy")
    assert "(ray_serve_deployment_status) <= 2" in rule["expr"]
    alarming = {status.name for status in DeploymentStatus if status.to_numeric() <= 2}
    assert alarming == {"UNHEALTHY", "DEPLOY_FAILED"}


def test_prometheus_takes_the_prefix_of_ray_off():
    config = yaml.safe_load((FOLDER / "prometheus.yml").read_text())
    assert config["rule_files"] == ["alerts.yml"]
    rules = next(job for job in config["scrape_configs"] if job["job_name"] == "ray")[
        "metric_relabel_configs"
    ]

    def renamed(name: str) -> str:
        for rule in rules:
            if rule.get("source_labels") == ["__name__"] and (match := re.fullmatch(rule["regex"], name)):
                name = match.expand(rule["replacement"].replace("$1", r"\1"))
        return name

    assert renamed("ray_manymodal_requests_total") == "manymodal_requests_total"
    assert renamed("ray_process_resident_memory_bytes") == "process_resident_memory_bytes"
    assert renamed("ray_vllm_kv_cache_usage_perc") == "vllm:kv_cache_usage_perc"
    assert renamed("ray_serve_deployment_replica_healthy") == "ray_serve_deployment_replica_healthy"


def test_kubernetes_renames_as_prometheus_does():
    monitor = yaml.safe_load(
        (FOLDER.parent / "kuberay" / "components" / "monitoring" / "pod-monitor.yaml").read_text()
    )
    config = yaml.safe_load((FOLDER / "prometheus.yml").read_text())
    rules = next(job for job in config["scrape_configs"] if job["job_name"] == "ray")[
        "metric_relabel_configs"
    ]
    (endpoint,) = monitor["spec"]["podMetricsEndpoints"]
    camel = {"source_labels": "sourceLabels", "target_label": "targetLabel"}
    assert endpoint["metricRelabelings"] == [
        {camel.get(name, name): value for name, value in rule.items()} for rule in rules
    ]
