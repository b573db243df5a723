"""The machines that the cluster's tests and benchmarks break: a cut wire loses all and tells nobody."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from machines import Machine, Network, cannot_make

pytestmark = pytest.mark.skipif(cannot_make() is not None, reason=f"no machines here: {cannot_make()}")

_PORT = 7000
_PATIENCE_SECONDS = 30


def listen(machine: Machine) -> subprocess.Popen[bytes]:
    """A program there that answers every connection with the name of its only file."""
    program = (
        "import os, socket\n"
        f"listener = socket.create_server(('0.0.0.0', {_PORT}))\n"
        "while True:\n"
        "    listener.accept()[0].sendall(os.listdir('/srv')[0].encode() + b'\\n')\n"
    )
    return subprocess.Popen(machine.command([sys.executable, "-c", program]))


def answer(machine: Machine, seconds: float = 1.0) -> str | None:
    """What it says; ``None`` when nobody answers."""
    try:
        with socket.create_connection((machine.address, _PORT), timeout=seconds) as connection:
            return connection.makefile().readline().strip()
    except OSError:
        return None


def answered(machine: Machine) -> str | None:
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while (said := answer(machine)) is None and time.monotonic() < deadline:
        time.sleep(0.1)
    return said


def test_machines_have_folders_of_their_own_and_wires_that_can_be_cut(tmp_path: Path) -> None:
    with Network() as network:
        machines = [network.add({"/srv": tmp_path / name}) for name in ("one", "two")]
        for name in ("one", "two"):
            (tmp_path / name / f"of-{name}").touch()
        programs = [listen(machine) for machine in machines]
        assert [answered(machine) for machine in machines] == ["of-one", "of-two"]

        machines[0].cut()
        assert answer(machines[0]) is None
        assert answered(machines[1]) == "of-two"

        machines[0].mend()
        assert answered(machines[0]) == "of-one"

        machines[0].power_off()
        assert machines[0].processes() == []
        assert answer(machines[0]) is None
        assert answered(machines[1]) == "of-two"
    assert answer(machines[1]) is None
    assert [program.wait(_PATIENCE_SECONDS) for program in programs] == [-9, -9]
