"""On the head of ``tests/ray_nodes.py``: does what lines of JSON tell it, and answers in lines of JSON.

It ends when nobody is left to tell it anything; what it deployed stays.
"""

from __future__ import annotations

import json
import logging
import sys
from typing import Any

from benchmarks.paced_deployments import Pace, paced_classes


def _deploy(given: dict[str, Any], pace: Pace) -> None:
    from deploy.platform import update_platform
    from deploy.settings import load_settings

    update_platform(load_settings(given), classes=paced_classes(pace))


def _replicas() -> dict[str, dict[str, Any]]:
    import ray
    from ray import serve

    from deploy.app import APPLICATION_NAME

    client = serve.context._get_global_client()
    details = ray.get(client._controller.get_serve_instance_details.remote(), timeout=15)
    found = {}
    for name, one in details["applications"].get(APPLICATION_NAME, {}).get("deployments", {}).items():
        running = [replica for replica in one["replicas"] if replica["state"] == "RUNNING"]
        states: dict[str, int] = {}
        for replica in one["replicas"]:
            states[replica["state"]] = states.get(replica["state"], 0) + 1
        found[name] = {
            "status": one["status"],
            "wanted": one["target_num_replicas"],
            "states": states,
            "at": sorted(replica["node_ip"] for replica in running),
            "pids": [replica["pid"] for replica in running],
        }
    return found


def main() -> None:
    """Obey until the input ends."""
    import ray

    for line in sys.stdin:
        command = json.loads(line)
        try:
            if "deploy" not in command and not ray.is_initialized():
                ray.init("auto", namespace="serve", log_to_driver=False, logging_level=logging.ERROR)
            if "deploy" in command:
                _deploy(command["deploy"], Pace(**command["pace"]))
                reply: dict[str, Any] = {"deployed": True}
            elif "nodes" in command:
                alive = [node for node in ray.nodes() if node["Alive"]]
                reply = {"nodes": {node["NodeManagerAddress"]: node["Resources"] for node in alive}}
            else:
                reply = {"replicas": _replicas()}
        except Exception as error:
            logging.exception("failed")
            reply = {"failed": f"{type(error).__name__}: {error}"}
        sys.stdout.write(json.dumps(reply, default=str) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
