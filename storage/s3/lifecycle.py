"""The lifecycle rules of a bucket that we want, beside those that others have set."""

from __future__ import annotations

import hashlib
from typing import Any

from storage.types import TierPolicy

__all__ = ["merged_rules"]


def merged_rules(
    existing: list[dict[str, Any]], prefix: str, policy: TierPolicy
) -> list[dict[str, Any]] | None:
    """``existing`` with our rules in place of our older ones, or ``None`` when they are all there already.

    Our rules' ids begin with ``manymodal-`` and a digest of ``prefix``, so installations that share a bucket keep
    each other's.
    """
    own = f"manymodal-{hashlib.sha256(prefix.encode()).hexdigest()[:8]}-"
    wanted = _rules(own, prefix, policy)
    ours = [rule for rule in existing if str(rule.get("ID", "")).startswith(own)]
    if sorted(ours, key=_id) == sorted(wanted, key=_id):
        return None
    return [rule for rule in existing if rule not in ours] + wanted


def _rules(own: str, prefix: str, policy: TierPolicy) -> list[dict[str, Any]]:
    transitions = [
        {"Days": days, "StorageClass": storage_class}
        for days, storage_class in (
            (policy.warm_after_days, "STANDARD_IA"),
            (policy.cold_after_days, "GLACIER_IR"),
        )
        if days is not None
    ]
    rules: list[dict[str, Any]] = [
        {
            "ID": f"{own}staging",
            "Status": "Enabled",
            "Filter": {"Prefix": f"{prefix}staging/"},
            "Expiration": {"Days": 1},
            "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": 1},
        },
    ]
    if transitions:
        rules.append(
            {
                "ID": f"{own}tiers",
                "Status": "Enabled",
                "Filter": {"Prefix": f"{prefix}blobs/"},
                "Transitions": transitions,
            }
        )
    return rules


def _id(rule: dict[str, Any]) -> str:
    return str(rule["ID"])
