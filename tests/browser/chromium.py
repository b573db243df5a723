"""Chromium for the playground's tests: where it is, and putting Debian's there (``make browser``)."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

__all__ = ["chromium_program", "install"]

_NAMES = ("chromium", "chromium-browser", "google-chrome-stable", "google-chrome")
_PACKAGES = ("chromium", "fonts-noto-core")
_TIMEOUT_SECONDS = 900


def chromium_program() -> str | None:
    """The one that ``MANYMODAL_CHROMIUM`` names, else one that is installed."""
    given = os.environ.get("MANYMODAL_CHROMIUM")
    if given is not None:
        return given if Path(given).is_file() else None
    return next(filter(None, map(shutil.which, _NAMES)), None)


def install() -> str | None:
    """Install Debian's Chromium, with fonts; why not, if not."""
    apt = shutil.which("apt-get")
    if apt is None:
        return "there is no apt-get"
    if os.geteuid() != 0:
        return f"this needs root: sudo apt-get install --no-install-recommends {' '.join(_PACKAGES)}"
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for command in (
        [apt, "-q", "update"],
        [apt, "-q", "-y", "install", "--no-install-recommends", *_PACKAGES],
    ):
        try:
            done = subprocess.run(
                command, env=environment, capture_output=True, text=True, timeout=_TIMEOUT_SECONDS
            )
        except subprocess.TimeoutExpired:
            return f"{' '.join(command)} took more than {_TIMEOUT_SECONDS} s"
        if done.returncode:
            return f"{' '.join(command)} ended with {done.returncode}: {done.stderr.strip()[-500:]}"
    return None if chromium_program() else "apt-get installed it, and it is not there"


if __name__ == "__main__":
    if chromium_program() is None and (reason := install()) is not None:
        print(f"No browser for the tests of the playground, which will skip: {reason}")  # noqa: T201 - a command's answer
        sys.exit(0)
    print(f"Browser for the tests of the playground: {chromium_program()}")  # noqa: T201 - a command's answer
