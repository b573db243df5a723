"""What is installed, held against published vulnerabilities."""

from __future__ import annotations

import json
from pathlib import Path

from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parents[3]
ADVISORIES = json.loads((ROOT / "deploy/advisories.json").read_text("utf-8"))["advisories"]
FIELDS = {"id", "package", "affected", "what"}


def pinned(text: str) -> dict[str, Version]:
    """Package to version, of lines ``name==version``."""
    lines = (line.partition("#")[0].strip() for line in text.splitlines())
    pairs = (line.split("==") for line in lines if line)
    return {canonicalize_name(name): Version(version) for name, version in pairs}


def found(pins: dict[str, Version]) -> list[str]:
    """Advisories that concern one of the pins."""
    return [
        f"{one['id']}: {one['package']} {version} ({one['what']})"
        for one in ADVISORIES
        if (version := pins.get(canonicalize_name(one["package"]))) is not None
        and SpecifierSet(one["affected"]).contains(version, prereleases=True)
    ]


def test_nothing_that_is_pinned_has_a_known_vulnerability():
    pins = pinned((ROOT / "constraints.txt").read_text("utf-8"))
    assert len(pins) > 200
    assert found(pins) == []


def test_the_list_is_read_rightly():
    assert all(set(one) == FIELDS for one in ADVISORIES)
    assert found(pinned("Pillow==11.2.1\nray==2.60.0")) == [
        "CVE-2025-48379: pillow 11.2.1 (heap overflow when writing DDS)"
    ]


def test_every_advisory_is_about_a_package_that_is_installed():
    packages = pinned((ROOT / "constraints.txt").read_text("utf-8"))
    told = {canonicalize_name(one["package"]) for one in ADVISORIES}
    assert told - set(packages) <= {"setuptools"}  # comes with the virtual environment
