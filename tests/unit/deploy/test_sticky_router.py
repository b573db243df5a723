"""Where requests of one conversation go, among real parts of Ray Serve's router."""

from __future__ import annotations

import asyncio
import warnings
from collections import Counter
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # Ray warns while it is imported
    from ray.serve._private.common import DeploymentID, ReplicaID

    from deploy.sticky_router import StickyRouter, in_order

LOADS = st.dictionaries(st.text("abcdefgh", min_size=1, max_size=2), st.integers(0, 40), min_size=1)


@given(LOADS, st.integers(0, 20))
def test_nobody_is_lost_and_nobody_first_is_far_behind(loads: dict[str, int], most_behind: int) -> None:
    order = in_order(list(loads), loads, most_behind)
    assert sorted(order) == sorted(loads)
    assert loads[order[0]] - min(loads.values()) <= most_behind


@given(LOADS)
def test_owners_stay_in_order_while_none_is_behind(loads: dict[str, int]) -> None:
    assert in_order(list(loads), loads, 40) == list(loads)


@given(LOADS)
def test_without_stickiness_the_least_busy_is_first(loads: dict[str, int]) -> None:
    assert loads[in_order(list(loads), loads, 0)[0]] == min(loads.values())


class Lengths(dict[ReplicaID, int]):
    """Ray's record of how long replicas' queues were last; ``None`` where it does not know."""


def replicas(count: int) -> list[Any]:
    deployment = DeploymentID("engine", "app")
    return [SimpleNamespace(replica_id=ReplicaID(f"r{n}", deployment)) for n in range(count)]


def router(known: list[Any]) -> StickyRouter:
    """One that has been told of ``known``, without Ray's actors and loops."""
    made = StickyRouter.__new__(StickyRouter)
    made._deployment_id = known[0].replica_id.deployment_id
    made._ring_hashes, made._ring_replicas, made._replica_set_snapshot = [], [], frozenset()
    made.initialize_state(most_behind=4)
    made._replicas = {one.replica_id: one for one in known}
    made._replica_queue_len_cache = Lengths()
    made._rebuild_ring(frozenset(made._replicas))
    return made


def request(session: str, number: int = 0) -> Any:
    metadata = SimpleNamespace(session_id=session, internal_request_id=f"request-{number}")
    return SimpleNamespace(metadata=metadata, routing_context=SimpleNamespace(should_backoff=False))


def first(of: StickyRouter, known: list[Any], session: str, number: int = 0) -> Any:
    ranks = asyncio.run(of.choose_replicas(known, request(session, number)))
    return ranks[0][0].replica_id


@pytest.fixture
def known() -> list[Any]:
    return replicas(4)


def test_a_conversation_stays_and_gateways_agree(known: list[Any]) -> None:
    one, other = router(known), router(known[::-1])
    for session in ("a", "b", "c", "d"):
        assert len({first(which, known, session, n) for which in (one, other) for n in range(5)}) == 1


def test_conversations_are_spread(known: list[Any]) -> None:
    found = Counter(first(router(known), known, f"conversation-{n}") for n in range(200))
    assert len(found) == 4
    assert max(found.values()) < 100


def test_one_far_behind_is_passed_over_until_it_has_caught_up(known: list[Any]) -> None:
    of = router(known)
    owner = first(of, known, "a")
    of._replica_queue_len_cache[owner] = 4
    assert first(of, known, "a") == owner
    of._replica_queue_len_cache[owner] = 5
    assert first(of, known, "a") != owner
    of._replica_queue_len_cache[owner] = 0
    assert first(of, known, "a") == owner


def test_when_one_leaves_the_others_keep_theirs(known: list[Any]) -> None:
    before = {f"c{n}": first(router(known), known, f"c{n}") for n in range(100)}
    rest = known[1:]
    after = {session: first(router(rest), rest, session) for session in before}
    gone = known[0].replica_id
    assert all(after[session] == owner for session, owner in before.items() if owner != gone)


def test_without_a_key_the_least_busy_is_asked(known: list[Any]) -> None:
    of = router(known)
    for one in known[1:]:
        of._replica_queue_len_cache[one.replica_id] = 3
    idle = known[0].replica_id
    found = [first(of, known, "", n) for n in range(60)]
    assert found.count(idle) > 30  # whenever it is among the three that are looked at
