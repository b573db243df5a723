"""Three Ray nodes on this host: pools land where they should, and what is killed comes back while users ask.

The long show is ``make bench-chaos``, of which this is a short version: the same cluster, the same users, one kill
of each kind. Nothing is asserted of how long things take, but that they end. ``make test-nodes``: not in ``make
test``, for two cores start three nodes in more than a minute.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.chaos import kill_controller, kill_node, kill_proxy, kill_replica
from benchmarks.chaos_cluster import PACE, chaos_cluster
from benchmarks.steady_load import Ask, Load
from tests.balancer import Balancer
from tests.machines import cannot_make
from tests.ray_nodes import API_PORT, Cluster

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]

_WHY_NOT = cannot_make()


@pytest.fixture(scope="module")
def cluster(models_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    if _WHY_NOT:
        pytest.skip(_WHY_NOT)
    with chaos_cluster(tmp_path_factory.mktemp("nodes")) as made:
        made.join()
        made.deploy(PACE)
        yield made


def test_pools_land_where_their_resources_are(cluster: Cluster) -> None:
    names = {machine.address: name for name, machine in cluster.nodes.items()}
    at = {
        deployment: {names[address] for address in one["at"]}
        for deployment, one in cluster.replicas().items()
    }

    assert at["vision"] == {"one"}
    assert at["ocr"] == at["audio"] == {"two"}
    for deployment in ("gateway", "engine", "text", "search"):
        assert at[deployment] <= {"one", "two"}, deployment


def test_users_are_answered_while_parts_are_killed(cluster: Cluster, tmp_path: Path) -> None:
    addresses = {name: f"{machine.address}:{API_PORT}" for name, machine in cluster.nodes.items()}

    async def asked_meanwhile(url: str) -> list[Ask]:
        async with Load(url, cluster.key, chats=1, embeddings=1, streams=2, stream_tokens=30) as load:
            await asyncio.to_thread(kill_replica, cluster, "engine", 0)
            await asyncio.to_thread(kill_controller, cluster)
            await asyncio.to_thread(kill_proxy, cluster, "one")
            await asyncio.to_thread(kill_node, cluster, "two")
            await asyncio.to_thread(kill_node, cluster, "head")
        return load.asks

    async def asked_afterwards(url: str) -> list[Ask]:
        async with Load(url, cluster.key) as load:
            return [await load.ask(Ask(kind, 0.0)) for kind in ("chat", "embedding", "stream")]

    with Balancer(tmp_path, addresses) as url:
        during = asyncio.run(asked_meanwhile(url))
        after = asyncio.run(asked_afterwards(url))

    streams = [ask for ask in during if ask.kind == "stream"]
    whole = [ask for ask in during if ask.kind != "stream"]
    # Silent is worse than failed: nobody asks again.
    assert not [ask for ask in streams if ask.outcome not in ("complete", "error", "broken")]
    # The share that is promised is held by the benchmark, of ten times as many.
    assert sum(ask.outcome == "complete" for ask in whole) > 0.9 * len(whole), whole
    assert {ask.outcome for ask in after} == {"complete"}, after
