"""The media fetcher in a network namespace whose wires are read: nothing but the public address is even tried."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

PUBLIC = "93.184.216.34"  # of ``two_networks``
SCRIPT = Path(__file__).parents[1] / "two_networks.py"


def _unshare() -> list[str]:
    """The command that gives a namespace, or a skip with the reason."""
    if shutil.which("unshare") is None or shutil.which("ip") is None:
        pytest.skip("needs the commands unshare and ip")
    if not Path("/proc/net/if_inet6").exists():
        pytest.skip("needs a kernel with IPv6")
    command = ["unshare", "--net", "--mount", *([] if os.geteuid() == 0 else ["--map-root-user"])]
    probe = [*command, "ip", "link", "add", "one", "type", "veth", "peer", "name", "other"]
    if subprocess.run(probe, capture_output=True).returncode != 0:
        pytest.skip("network namespaces are not allowed here")
    return command


def test_five_hundred_hostile_urls_and_their_redirects_try_nobody_inside():
    folders = f"{SCRIPT.parent}:{SCRIPT.parents[1]}"
    ran = subprocess.run(
        [*_unshare(), sys.executable, str(SCRIPT)],
        env=os.environ | {"PYTHONPATH": folders},
        capture_output=True,
        text=True,
        timeout=100,
        check=True,
    )
    seen = json.loads(ran.stdout)
    assert seen["control"] == "public!!", "the public address was not reached: nothing is shown"
    assert seen["unnoticed"] == [], "somebody inside may be reached without being seen: nothing is shown"
    assert seen["inside"] == []
    assert seen["tried"] == [[PUBLIC, 80]]  # TCP connections begun, to whomever, on any wire
    assert seen["reached"] == [PUBLIC]
    assert seen["asked"]["rebind A"] == 1  # whose second answer is private
    assert set(seen["ends"]) == {"MediaFetchFailed", "MediaServerUnavailable", "LimitExceeded", "public!!"}
    assert sum(seen["ends"].values()) > 1000
    assert seen["ends"]["public!!"] < 20
