"""Lifecycle rules: ours are set, changed and kept; other people's are never touched."""

from __future__ import annotations

from typing import Any

from storage.s3.lifecycle import merged_rules
from storage.types import TierPolicy

OTHERS: list[dict[str, Any]] = [
    {"ID": "logs", "Status": "Enabled", "Filter": {"Prefix": "logs/"}, "Expiration": {"Days": 7}},
    {"Status": "Disabled", "Prefix": "old/", "Expiration": {"Days": 1}},
]
POLICY = TierPolicy(warm_after_days=30, cold_after_days=90)


def test_rules_of_an_empty_bucket() -> None:
    rules = merged_rules([], "inst/", POLICY)
    assert rules is not None
    by_prefix = {rule["Filter"]["Prefix"]: rule for rule in rules}
    assert set(by_prefix) == {"inst/blobs/", "inst/staging/"}
    assert by_prefix["inst/blobs/"]["Transitions"] == [
        {"Days": 30, "StorageClass": "STANDARD_IA"},
        {"Days": 90, "StorageClass": "GLACIER_IR"},
    ]
    assert by_prefix["inst/staging/"]["Expiration"] == {"Days": 1}
    assert by_prefix["inst/staging/"]["AbortIncompleteMultipartUpload"] == {"DaysAfterInitiation": 1}
    assert all(rule["ID"].startswith("manymodal-") and rule["Status"] == "Enabled" for rule in rules)
    assert len({rule["ID"] for rule in rules}) == 2
    assert "Expiration" not in by_prefix["inst/blobs/"]


def test_other_rules_stay_first_and_unchanged() -> None:
    rules = merged_rules(OTHERS, "", POLICY)
    assert rules is not None
    assert rules[:2] == OTHERS
    assert merged_rules(rules, "", POLICY) is None  # as wanted: nothing to write
    assert merged_rules(list(reversed(rules)), "", POLICY) is None
    changed = merged_rules(rules, "", TierPolicy(cold_after_days=10))
    assert changed is not None
    assert changed[:2] == OTHERS
    assert len(changed) == len(rules)
    assert [rule["Transitions"] for rule in changed if "Transitions" in rule] == [
        [{"Days": 10, "StorageClass": "GLACIER_IR"}]
    ]
    without = merged_rules(changed, "", TierPolicy())
    assert without is not None
    assert len(without) == len(rules) - 1


def test_installations_in_one_bucket_keep_each_others_rules() -> None:
    one = merged_rules(OTHERS, "one/", POLICY)
    assert one is not None
    both = merged_rules(one, "two/", TierPolicy(cold_after_days=10))
    assert both is not None
    assert len(both) == 2 + 2 + 2
    assert merged_rules(both, "one/", POLICY) is None
    assert merged_rules(both, "two/", TierPolicy(cold_after_days=10)) is None
