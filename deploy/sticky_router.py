"""Which replica of the decoder gets a request: the one that knows the prompt's beginning, unless it is behind."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from ray.serve._private.request_router.common import PendingRequest
from ray.serve._private.request_router.replica_wrapper import RunningReplica
from ray.serve.experimental.consistent_hash_router import ConsistentHashRouter

__all__ = ["StickyRouter", "in_order"]

Replica = TypeVar("Replica")

_MOST_BEHIND = 8  # requests that the owner of a key may have more than the least busy of the others


class StickyRouter(ConsistentHashRouter):  # type: ignore[misc]  # Ray ships no types
    """Ray Serve's consistent hashing over a handle's ``session_id``, with bounded loads: a replica that has
    ``most_behind`` requests more than the least busy of its successors comes after them. Without a ``session_id``
    the least busy of three comes first.

    All gateways hash alike, so they agree without talking. Ray's own ``PrefixCacheAffinityRouter`` was looked at:
    it asks an actor for each request while the event loop stands still, and knows nothing of tenants' salts.
    Bounded loads: Mirrokni, Thorup, Zadimoghaddam, "Consistent Hashing with Bounded Loads", 2016.
    """

    def initialize_state(self, *, most_behind: int = _MOST_BEHIND, **kwargs: Any) -> None:
        """``most_behind``: how many requests stickiness is worth."""
        super().initialize_state(**kwargs)
        self._most_behind = most_behind

    async def choose_replicas(
        self, candidate_replicas: list[RunningReplica], pending_request: PendingRequest | None = None
    ) -> list[list[RunningReplica]]:
        """See Ray's ``RequestRouter``; ranks of one replica each."""
        ranks: list[list[RunningReplica]] = await super().choose_replicas(candidate_replicas, pending_request)
        if len(ranks) < 2 or any(len(rank) != 1 for rank in ranks):
            return ranks
        replicas = [rank[0] for rank in ranks]
        lengths = {one.replica_id: self._replica_queue_len_cache.get(one.replica_id) or 0 for one in replicas}
        sticky = pending_request is not None and bool(pending_request.metadata.session_id)
        order = in_order([one.replica_id for one in replicas], lengths, self._most_behind if sticky else 0)
        by_id = {one.replica_id: one for one in replicas}
        return [[by_id[replica_id]] for replica_id in order]


def in_order(owners: Sequence[Replica], lengths: Mapping[Replica, int], most_behind: int) -> list[Replica]:
    """``owners`` of a key, first to last, with those after the others that have more than ``most_behind`` requests
    more than the least busy: these by their load.
    """
    least = min(lengths[one] for one in owners)
    keeping = [one for one in owners if lengths[one] - least <= most_behind]
    behind = [one for one in owners if lengths[one] - least > most_behind]
    return [*keeping, *sorted(behind, key=lambda one: lengths[one])]
