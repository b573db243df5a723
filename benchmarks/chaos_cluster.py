"""The cluster that is broken on purpose: a head that only rules, two workers, on both the pools that chats need."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks.fake_engine import Pace
from tests.ray_nodes import Cluster, NodeSpec

__all__ = ["ALONE", "NODES", "PACE", "chaos_cluster"]

_BOTH = ("gateway_pool", "engine_pool", "text_pool", "search_pool")

NODES = (
    NodeSpec("head"),
    NodeSpec("one", (*_BOTH, "vision_pool"), gpus=2),
    NodeSpec("two", (*_BOTH, "ocr_pool", "audio_pool"), gpus=1),
)

ALONE = frozenset({"vision", "ocr", "audio"})
"""Deployments whose pool is on one worker only: without it they wait for its return."""

PACE = Pace(tokens_per_second=10.0)


def chaos_cluster(folder: Path) -> Cluster:
    """Started, without the application."""
    return Cluster(folder, NODES, {"deployments": _deployments()})


def _deployments() -> dict[str, Any]:
    def pool(name: str, **more: Any) -> dict[str, Any]:
        return {
            "max_ongoing_requests": 64,
            "max_queued_requests": 64,
            "resources": {f"{name}_pool": 0.01},
            **more,
        }

    # Ray spreads replicas where it can; that both are never on one machine must be asked for.
    two = {"num_replicas": 2, "max_replicas_per_node": 1}
    return {
        "perception": None,
        "gateway": pool("gateway", **two),
        "engine": pool("engine", **two, num_gpus=0.5),
        "text": pool("text", **two),
        "search": pool("search"),
        "vision": pool("vision", num_gpus=0.25),
        "ocr": pool("ocr"),
        "audio": pool("audio"),
    }
