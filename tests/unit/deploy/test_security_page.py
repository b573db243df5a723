"""The page on security names only tests that there are."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[3]
NAMED = re.compile(r"`(tests/[\w/]+\.py)::(test_\w+)`")


def test_every_attack_has_a_test_that_exists():
    rows = (
        (ROOT / "docs/security.md").read_text("utf-8").split("## Attacks")[1].split("\n## ")[0].splitlines()
    )
    attacks = [row for row in rows if row.startswith("|")][2:]
    assert len(attacks) > 20
    for row in attacks:
        named = NAMED.findall(row)
        assert named, f"no test is named: {row}"
        for path, test in named:
            assert re.search(rf"def {test}\b", (ROOT / path).read_text("utf-8")), f"{path} has no {test}"
