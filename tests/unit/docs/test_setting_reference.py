"""Every setting is in the reference, and says what it is for."""

from __future__ import annotations

import re

from documents import REPOSITORY
from setting_reference import page

from deploy.setting_origins import resolved_settings
from deploy.settings import load_settings

_ROW = re.compile(r"^\| `([a-z0-9_.]+)` \|.*\| (.*) \|$", re.MULTILINE)


def test_every_setting_has_words() -> None:
    operations, guide = (
        (REPOSITORY / "docs" / name).read_text("utf-8") for name in ("operations.md", "api.md")
    )
    told = dict(_ROW.findall(page(operations, guide)))
    wanted = {setting.name for setting in resolved_settings(load_settings(), {})}
    assert set(told) == {name for name in wanted if not name.startswith("deployments.")}
    assert [name for name, words in told.items() if not words.strip()] == []


def test_words_are_those_of_the_row_of_the_section_or_of_the_first_below() -> None:
    operations = "\n".join(
        (
            "| `MANYMODAL_PORT` | 1 | own |",
            "| `MANYMODAL_SLO__<NAME>` | 1 | section |",
            "| `MANYMODAL_STORAGE__S3__BUCKET`, `__REGION` | 1 | below |",
        )
    )
    told = dict(_ROW.findall(page(operations, "")))
    assert (told["port"], told["slo.token_seconds"], told["storage.s3"]) == ("own", "section", "below")
    assert not told["host"].strip()
