"""`manymodal warm-up` against a fake platform over real HTTP."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from fake_http_platform import FakeHttpPlatform
from typer.testing import Result

Cli = Callable[..., Result]

FIRST, SECOND = f"file-{0:032x}", f"file-{1:032x}"  # ids the fake gives out


def test_warm_up_sends_each_id_once_and_counts(
    cli: Cli, platform: FakeHttpPlatform, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("serving.client.media._WARM_UP_IDS", 2)
    platform.media = {FIRST: {}, SECOND: {}}
    third = f"file-{2:032x}"
    platform.media[third] = {}
    listing = tmp_path / "ids.txt"
    listing.write_text(f"# mine\n{FIRST}\n\n  # more\n  {SECOND} \n{FIRST}\n{third}\n", "utf-8")
    result = cli("warm-up", str(listing))
    assert result.exit_code == 0
    assert platform.sent("media/warm_up") == [{"ids": [FIRST, SECOND]}, {"ids": [third]}]
    assert (
        result.stdout == "6 results (3 KiB) of 3 media were brought into the caches; 0 ids were not found.\n"
    )


def test_warm_up_from_standard_input_names_what_is_missing(cli: Cli, platform: FakeHttpPlatform) -> None:
    platform.media[FIRST] = {}
    result = cli("warm-up", "-", "--json", input=f"{FIRST}\n{SECOND}\n")
    assert result.exit_code == 1
    assert json.loads(result.stdout) == {
        "loaded": 2,
        "loaded_bytes": 1024,
        "complete": True,
        "not_found": [SECOND],
    }


def test_warm_up_says_when_there_was_no_room(
    cli: Cli, platform: FakeHttpPlatform, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("serving.client.media._WARM_UP_IDS", 1)
    platform.media, platform.room = {FIRST: {}, SECOND: {}}, 3
    result = cli("warm-up", "-", input=f"{FIRST}\n{SECOND}\n")
    assert result.exit_code == 0
    assert "3 results" in result.stdout
    assert "Not all" in result.stdout


@pytest.mark.parametrize(
    ("content", "says"),
    [(None, "cannot be read"), (b"\xff\xfe", "is no text"), (b"", "lists no ids"), (b"# a\n\n", "no ids")],
)
def test_warm_up_refuses_what_lists_nothing(
    cli: Cli,
    platform: FakeHttpPlatform,
    tmp_path: Path,
    content: bytes | None,
    says: str,
) -> None:
    listing = tmp_path / "ids.txt"
    if content is not None:
        listing.write_bytes(content)
    result = cli("warm-up", str(listing))
    assert (result.exit_code, platform.requests) == (2, [])
    assert says in result.stderr
