"""Running other projects' code side by side with ours, each in a virtual environment and process of its own.

Their dependencies exclude each other and ours. A peer program is a file that needs nothing of this project; it
reads one JSON object a line from its input and answers each with one line.
"""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import venv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

__all__ = ["Peer", "PeerFailed", "peer_python"]

_ROOT = Path(__file__).resolve().parent.parent
_STOP_SECONDS = 10.0


class PeerFailed(RuntimeError):
    """A peer ended, or did not answer in time; the message holds the end of what it wrote."""


def peer_python(name: str, requirements: Sequence[str]) -> Path:
    """The interpreter of the peer's environment ``.venv-peers-NAME``, made with pip when it is missing.

    An environment that is there already is named by ``MANYMODAL_PEERS_NAME`` (upper case).
    """
    given = os.environ.get(f"MANYMODAL_PEERS_{name.upper()}")
    folder = Path(given) if given else _ROOT / f".venv-peers-{name}"
    python = folder / "bin" / "python"
    done = folder / ".complete"
    if given or done.exists():
        if not python.exists():
            raise PeerFailed(f"There is no Python environment in {folder}.")
        return python
    print(f"Making {folder.name} ({' '.join(requirements)}); this takes minutes, once.")
    venv.create(folder, with_pip=True, clear=True)
    subprocess.run([python, "-m", "pip", "install", "--quiet", *requirements], check=True)
    done.touch()
    return python


class Peer:
    """A peer process. Use as a context manager; ``ask`` one thing at a time."""

    def __init__(
        self,
        python: Path,
        program: Path,
        arguments: Sequence[str] = (),
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.name = " ".join([program.stem, *arguments])
        own = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
        self._process = subprocess.Popen(
            [python, program, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=sys.stderr if os.environ.get("MANYMODAL_PEERS_LOUD") else subprocess.DEVNULL,
            env={**own, "HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", **(environment or {})},
            text=True,
            bufsize=1,
        )

    def ask(self, question: Mapping[str, Any], timeout_seconds: float = 300.0) -> dict[str, Any]:
        """The answer to one question. Raises ``PeerFailed``."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write(json.dumps(question) + "\n")
            self._process.stdin.flush()
        except OSError:
            raise PeerFailed(
                f"The peer '{self.name}' has ended (MANYMODAL_PEERS_LOUD=1 shows why)."
            ) from None
        while True:
            ready, _, _ = select.select([self._process.stdout], [], [], timeout_seconds)
            line = self._process.stdout.readline() if ready else ""
            if not line:
                raise PeerFailed(
                    f"The peer '{self.name}' gives no answer (MANYMODAL_PEERS_LOUD=1 shows why)."
                )
            if line.startswith("{"):  # libraries print to the same place
                answer: dict[str, Any] = json.loads(line)
                if "error" in answer:
                    raise PeerFailed(f"The peer '{self.name}' failed: {answer['error']}")
                return answer

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def __enter__(self) -> Peer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
