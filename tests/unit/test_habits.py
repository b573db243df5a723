"""Habits of this repository: files stay short, what turns a check off says why, one command each."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
CODE = ("encoders", "fusion", "storage", "search", "serving", "deploy")
LONGEST_LINES = 400
LARGEST_BYTES = 1_000_000

LONGER = {
    "tests/api/test_fusion.py": "every strategy against the same three media",
    "tests/api/test_limits.py": "every limit of a tenant against the same clock",
    "tests/api/test_media.py": "one route and its damaged media",
    "tests/api/test_moderation_policy.py": "every place of a policy",
    "tests/api/test_responses.py": "one route",
    "tests/api/test_tenant_matrix.py": "the table of all routes",
    "tests/cluster/test_platform.py": "one platform, which takes a minute to start",
    "tests/contract/models/test_hub_vision.py": "one family of models",
    "tests/unit/storage/test_media_store.py": "one class",
}
"""Python files of more lines than that, and why they are not cut."""

FOR_USERS = {"help", "demo", "serve", "clean"}
"""Make's targets that the README tells of, not CONTRIBUTING."""

SILENCING = re.compile(
    r"#\s*(?P<what>noqa|type:\s*ignore)(?P<code>:\s*[A-Z]+\d+(?:,\s*[A-Z]+\d+)*|\[[^\]]+\])?(?P<rest>.*)"
)
EXPLAINED = re.compile(r"\s*(?:#|--?|\()?\s*[\w`'].{3,}")


@cache
def python_files() -> dict[str, list[str]]:
    """Lines of every Python file of ours, by its path from the root."""
    return {
        str(path.relative_to(ROOT)): path.read_text("utf-8").splitlines()
        for top in (*CODE, "tests", "benchmarks", "docs")
        for path in sorted((ROOT / top).rglob("*.py"))
    }


def targets() -> dict[str, bool]:
    """Make's targets by name, and whether they are told of by ``make help``."""
    found = re.findall(r"^([a-z][a-z-]*):(.*)$", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE)
    return {name: "##" in rest for name, rest in found}


def silenced() -> Iterator[tuple[str, re.Match[str], bool]]:
    """Every comment that turns a check off: where, what it says, and whether the line above is a comment."""
    for path, lines in python_files().items():
        if path == "tests/unit/test_habits.py":
            continue
        for number, line in enumerate(lines):
            if ("noqa" in line or "type:" in line) and (found := SILENCING.search(line)):
                above = lines[number - 1].lstrip() if number else ""
                yield f"{path}:{number + 1}", found, above.startswith("#")


def test_python_files_stay_short() -> None:
    longer = {path for path, lines in python_files().items() if len(lines) > LONGEST_LINES}
    assert longer == LONGER.keys()  # cut the new one, or say why not; forget the one that was cut


def test_files_of_the_playground_stay_short() -> None:
    own = [
        path
        for path in (ROOT / "serving/web").rglob("*")
        if path.suffix in (".js", ".css", ".html") and "vendor" not in path.parts
    ]
    assert len(own) > 10
    assert [path.name for path in own if len(path.read_text("utf-8").splitlines()) > LONGEST_LINES] == []


def test_code_that_is_served_has_no_excuse() -> None:
    assert not [path for path in LONGER if path.startswith(CODE)]


def test_what_turns_a_check_off_names_it_and_says_why() -> None:
    for where, found, is_explained_above in silenced():
        assert found["code"], f"{where} turns off every check of a line: name the one that is meant"
        said = is_explained_above or EXPLAINED.match(found["rest"])
        assert said, f"{where} does not say why; put the reason behind it or above it"


@pytest.mark.parametrize(
    ("line", "is_good"),
    [
        ("x = 1  # noqa: S311 - no secret", True),
        ("x = 1  # noqa: S311 -- no secret", True),
        ("x = 1  # noqa: S311  (no secret)", True),
        ("x = 1  # type: ignore[misc]  # Ray ships no types", True),
        ("x = 1  # type: ignore[misc]", False),
        ("x = 1  # noqa: S311", False),
        ("x = 1  # noqa: S311,", False),
        ("x = 1  # noqa: S311 - x", False),
    ],
)
def test_what_is_a_reason(line: str, is_good: bool) -> None:
    found = SILENCING.search(line)
    assert found is not None
    assert bool(EXPLAINED.match(found["rest"])) == is_good


def test_tests_that_mypy_does_not_read_say_nothing_to_it() -> None:
    idle = [
        where
        for where, found, _ in silenced()
        if where.startswith("tests/") and where.count("/") > 1 and "type" in found["what"]
    ]
    assert idle == []


def test_settings_that_turn_a_check_off_say_why() -> None:
    lines = (ROOT / "pyproject.toml").read_text("utf-8").splitlines()
    looked_at = 0
    section = listing = ""
    for before, line in zip(["", *lines], lines, strict=False):
        if line.startswith("["):
            section, listing = line, ""
            if line == "[[tool.mypy.overrides]]":
                following = lines[lines.index(line) + 1]
                assert following.startswith("#"), "overrides of mypy say why in a comment"
                looked_at += 1
        if re.match(r"(ignore|filterwarnings) = \[", line):
            listing = line.split(" ")[0]
        elif line == "]":
            listing = ""
        elif listing == "ignore" or '"ignore:' in line or ("per-file-ignores" in section and "=" in line):
            assert "#" in line or before.startswith("#"), f"{line} does not say why"
            looked_at += 1
    assert looked_at > 5


def test_one_command_each() -> None:
    page = (ROOT / "CONTRIBUTING.md").read_text("utf-8")
    named = set(re.findall(r"`make ([a-z-]+)`", page))
    made = targets()
    assert named <= made.keys()
    assert {name for name, is_told in made.items() if is_told} <= named | FOR_USERS
    assert {"format", "lint", "types", "unit", "test", "docs"} <= named


def test_targets_are_no_files() -> None:
    phony = re.search(r"^\.PHONY:((?:.*\\\n)*.*)$", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE)
    assert phony is not None
    assert set(phony[1].replace("\\", " ").split()) == targets().keys()


def test_git_hooks_call_what_ci_calls() -> None:
    config = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text("utf-8"))
    assert [one["repo"] for one in config["repos"]] == ["local"]  # nothing is fetched
    entries = [hook["entry"] for hook in config["repos"][0]["hooks"]]
    assert entries == ["make lint", "make imports", "make types"]
    test = re.search(r"^test:([^#]*)", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE)
    assert test is not None
    assert {entry.split(" ")[1] for entry in entries} <= set(test[1].split())


def test_pre_commit_reads_its_settings() -> None:
    clientlib = pytest.importorskip("pre_commit.clientlib")
    config = clientlib.load_config(str(ROOT / ".pre-commit-config.yaml"))
    assert config["default_install_hook_types"] == ["pre-commit", "pre-push"]


def test_decisions_are_numbered_without_gaps() -> None:
    pages = sorted(path.name for path in (ROOT / "docs/adr").glob("*.md"))
    assert [int(name[:4]) for name in pages] == list(range(1, len(pages) + 1))


def test_nothing_large_is_kept() -> None:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, timeout=60)
    if listed.returncode:
        pytest.skip("this is no checkout of git")
    paths = [ROOT / name for name in listed.stdout.split("\0") if name]
    large = [str(path) for path in paths if path.is_file() and path.stat().st_size > LARGEST_BYTES]
    assert large == []
