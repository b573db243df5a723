"""Starting the platform: what is refused before Ray is started."""

from __future__ import annotations

import pickle
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from deploy.errors import DeployError, PlatformStartFailed, PortTaken, TourFailed
from deploy.platform import running_platform
from deploy.settings import load_settings


def test_a_taken_port_is_refused_before_anything_starts(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        settings = load_settings({"port": taken.getsockname()[1], "data_dir": tmp_path})
        with pytest.raises(PortTaken, match="already in use"), running_platform(settings):
            pytest.fail("must not start")


@pytest.mark.parametrize("cls", [DeployError, PlatformStartFailed, PortTaken, TourFailed])
def test_errors_travel_between_processes(cls: type[DeployError]) -> None:
    copy = pickle.loads(pickle.dumps(cls("It failed.")))  # noqa: S301 -- our own bytes
    assert type(copy) is cls
    assert copy.message == "It failed."


def test_the_command_starts_light() -> None:
    """`manymodal --help` must not wait for Ray, torch or a model."""
    code = "import sys, deploy.cli; print(*{m.split('.')[0] for m in sys.modules})"
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.split()
    assert not {"ray", "torch", "vllm", "transformers", "faiss", "lance", "av", "cv2"} & set(loaded)
