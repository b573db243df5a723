"""A Ray cluster of several nodes on this host: each in a network namespace of its own, and so are its servers.

The head keeps its state in a Valkey (GCS fault tolerance), media lie in a SeaweedFS, caches in another Valkey;
tokens guard Ray. ``deploy`` runs the application there with stand-ins for its models.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Container, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from queue import Empty, Queue
from typing import Any

import psutil

from benchmarks.fake_engine import Pace
from deploy.access import key_store
from deploy.ray_environment import ray_environment
from deploy.settings import load_settings
from serving.identity import ALL_SCOPES
from tests.machines import Machine, Network
from tests.s3_server import S3Server
from tests.valkey_server import ValkeyServer

__all__ = ["API_PORT", "Cluster", "DriverFailed", "NodeSpec", "wait_for"]

API_PORT = 8000
_GCS_PORT = 6379
_HEAD_SECONDS = 90.0
_AGENT_SECONDS = 60.0
_REPOSITORY = Path(__file__).parents[1]
_OWN_FOLDERS = ("/tmp/ray", "/tmp/haproxy-serve")  # noqa: S108 - Ray's and Serve's, one for each node


@dataclass(frozen=True, slots=True)
class NodeSpec:
    """What a node offers: made-up GPUs, and the pools whose replicas it takes."""

    name: str
    pools: tuple[str, ...] = ()
    gpus: int = 0
    cpus: int = 4


class Cluster:
    """Head and workers. ``with Cluster(folder, nodes, settings) as cluster`` starts all but the application.

    The first node is the head. ``settings`` as ``load_settings`` takes them; addresses, secret and keys are added.
    """

    def __init__(self, folder: Path, nodes: Sequence[NodeSpec], settings: Mapping[str, Any]) -> None:
        self._folder = folder
        self._specs = {spec.name: spec for spec in nodes}
        self._head = nodes[0].name
        self._given = dict(settings)
        self._rest = contextlib.ExitStack()
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self._driver: _Driver | None = None
        self.machines: dict[str, Machine] = {}

    def __enter__(self) -> Cluster:
        with contextlib.ExitStack() as rest:
            network = rest.enter_context(Network())
            self.host_address = network.host_address
            for name in ("gcs-store", "cache", "bucket"):
                self.machines[name] = network.add()
            for name in self._specs:
                folders = {shared: self._folder / name / shared[1:] for shared in _OWN_FOLDERS}
                self.machines[name] = network.add(folders)
            at = self.machines
            self.gcs_store = ValkeyServer(at["gcs-store"].address, at["gcs-store"].command)
            self.cache = ValkeyServer(at["cache"].address, at["cache"].command)
            self.bucket = S3Server(self._folder / "bucket", at["bucket"].address, at["bucket"].command)
            for server in (self.gcs_store, self.cache, self.bucket):
                server.start()
                rest.callback(server.stop)
            self.settings = load_settings(self._complete())
            self.key = key_store(self.settings).create("users", "default", ALL_SCOPES, None)[1]
            self._token = self._folder / "token"
            self._token.write_text(secrets.token_hex(32))
            for name in self._specs:
                self.start_node(name)
                if name == self._head:
                    wait_for(self._head_answers, _HEAD_SECONDS)
                # One after the other: a node whose agent is not up within 15 s, which two cores that start three
                # may take, ends itself (Ray 2.60's raylet, NodeManager::WaitForDashboardAgentPorts).
                with contextlib.suppress(TimeoutError):
                    wait_for(partial(self._agent_is_up, name), _AGENT_SECONDS)
            rest.callback(self._end_driver)
            self._rest = rest.pop_all()
        return self

    def __exit__(self, *raised: object) -> None:
        self._rest.close()
        for process in self._running.values():
            process.wait(20)

    @property
    def nodes(self) -> dict[str, Machine]:
        """The machines that Ray runs on, by their names."""
        return {name: self.machines[name] for name in self._specs}

    def start_node(self, name: str) -> None:
        """Start Ray on a machine, the first time or after ``power_off``."""
        spec, machine = self._specs[name], self.machines[name]
        if name in self._running:
            self._running[name].wait(20)
        if name == self._head:
            # A machine that starts anew knows nothing of the head before, which other nodes' processes still name.
            (self._folder / name / "tmp/ray/ray_current_cluster").unlink(missing_ok=True)
            place = ["--head", f"--port={_GCS_PORT}", "--include-dashboard=false"]
        else:
            place = [f"--address={self.machines[self._head].address}:{_GCS_PORT}"]
        command = [
            *(str(Path(sys.executable).with_name("ray")), "start", "--block", *place),
            *(f"--node-ip-address={machine.address}", f"--num-cpus={spec.cpus}", f"--num-gpus={spec.gpus}"),
            f"--resources={json.dumps(dict.fromkeys(spec.pools, 1))}",
            *("--object-store-memory=104857600", "--disable-usage-stats"),
            # Ports that are told beforehand: a node that must wait for them to be chosen gives up after 15 s.
            *("--dashboard-agent-listen-port=52365", "--dashboard-agent-grpc-port=52366"),
            *("--runtime-env-agent-port=52367", "--metrics-export-port=8090", "--include-log-monitor=false"),
        ]
        with (self._folder / f"{name}.log").open("ab") as log:
            self._running[name] = subprocess.Popen(
                machine.command(command),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={name: value for name, value in self.environment().items() if name != "RAY_ADDRESS"},
                start_new_session=True,
            )

    def _agent_is_up(self, name: str) -> bool:
        """Whether a node's agent has told its port, or the node has ended: ``join`` starts it again."""
        told = (self._folder / name / "tmp/ray").glob("session_2*/dashboard_agent_listen_port_*")
        return any(told) or self._running[name].poll() is not None

    def _head_answers(self) -> bool:
        try:
            with socket.create_connection((self.machines[self._head].address, _GCS_PORT), timeout=1):
                return True
        except OSError:
            return False

    def revive(self) -> None:
        """Start Ray anew where it has ended, as Kubernetes does with a container: a node that was away for too long
        ends itself, and one that starts on a busy machine may give up.
        """
        for name, process in self._running.items():
            if process.poll() is not None:
                self.machines[name].power_off()
                self.start_node(name)

    def join(self, seconds: float = 300.0) -> None:
        """Wait until all nodes are there."""

        def complete() -> bool:
            self.revive()
            with contextlib.suppress(DriverFailed):  # the head is still on its way
                return len(self.joined(60)) == len(self._specs)
            return False

        try:
            wait_for(complete, seconds, 1)
        except TimeoutError as error:
            logs = "\n".join((self._folder / f"{name}.log").read_text()[-1500:] for name in self._specs)
            raise TimeoutError(f"not all nodes joined {error}:\n{logs}") from error

    def environment(self) -> dict[str, str]:
        """What Ray is started with on every node."""
        return {
            **os.environ,
            **ray_environment(self.settings),
            "RAY_ADDRESS": f"{self.machines[self._head].address}:{_GCS_PORT}",
            "RAY_AUTH_TOKEN_PATH": str(self._token),
            "RAY_REDIS_ADDRESS": self.gcs_store.url.removeprefix("redis://").removesuffix("/0"),
            "RAY_agent_register_timeout_ms": "100000",  # three nodes on two cores start slowly
            # As KubeRay sets it. By default workers, and all that runs there, end without a head for a minute.
            "RAY_gcs_rpc_server_reconnect_timeout_s": "600",
            "RAY_external_storage_namespace": "manymodal",
            "PYTHONPATH": str(_REPOSITORY),
        }

    def deploy(self, pace: Pace, seconds: float = 300.0) -> None:
        """Run the application, or update it, and wait until it runs."""
        self._told(seconds, deploy=self._complete(), pace=asdict(pace))

    def joined(self, seconds: float = 20.0) -> dict[str, dict[str, float]]:
        """The nodes that Ray says are alive, by name, with what they offer."""
        names = {machine.address: name for name, machine in self.nodes.items()}
        found: dict[str, dict[str, float]] = self._told(seconds, nodes=True)["nodes"]
        return {names[address]: resources for address, resources in found.items()}

    def replicas(self, seconds: float = 20.0) -> dict[str, dict[str, Any]]:
        """Of each deployment: replicas by state, how many are wanted, nodes and processes of those that run."""
        found: dict[str, dict[str, Any]] = self._told(seconds, replicas=True)["replicas"]
        return found

    def whole(self, but: Container[str] = (), seconds: float = 20.0) -> bool:
        """Whether every deployment, ``but`` some, has all its replicas: Serve says so, and their processes live."""
        try:
            found = self.replicas(seconds) if self._head_answers() else {}
        except DriverFailed:
            return False
        return bool(found) and all(
            one["status"] == "HEALTHY"
            and one["states"].get("RUNNING", 0) == one["wanted"]
            and all(map(_lives, one["pids"]))
            for name, one in found.items()
            if name not in but
        )

    def _told(self, seconds: float, **command: Any) -> dict[str, Any]:
        if self._driver is None or not self._driver.runs:
            self._end_driver()
            self._driver = _Driver(
                self.machines[self._head].command([sys.executable, "-m", "tests.ray_node_driver"]),
                self.environment(),
                self._folder / "driver.log",
            )
        try:
            return self._driver.told(seconds, command)
        except DriverFailed:
            self._end_driver()
            raise

    def _end_driver(self) -> None:
        if self._driver is not None:
            self._driver.end()
            self._driver = None

    def _complete(self) -> dict[str, Any]:
        if not hasattr(self, "_secret"):
            self._secret = secrets.token_hex(32)
            self._s3 = self.bucket.config
        s3 = self._s3
        storage = {
            "redis_url": self.cache.url,
            "s3": {
                "bucket": s3.bucket,
                "endpoint_url": s3.endpoint_url,
                "access_key_id": s3.access_key_id,
                "secret_access_key": s3.secret_access_key,
                "prefix": s3.prefix,
            },
        }
        given = self._given
        return {
            "host": "0.0.0.0",  # noqa: S104 - of a namespace
            "port": API_PORT,
            "ingress": "haproxy",
            "ray_address": "auto",
            "secret": self._secret,
            "data_dir": str(self._folder / "data"),
            "log_level": "WARNING",
            "drain_seconds": 45,
            **given,
            "storage": {**storage, **given.get("storage", {})},
            "limits": {"answer_timeout_seconds": 40, **given.get("limits", {})},
            "chat": {"side_channel": False, **given.get("chat", {})},
        }


class DriverFailed(Exception):
    """Ray did not do what it was told, or did not answer in time."""


class _Driver:
    """A process on the head that talks to Ray; see ``tests/ray_node_driver.py``."""

    def __init__(self, command: Sequence[str], environment: Mapping[str, str], log: Path) -> None:
        self._log = log
        self._output = log.open("ab")
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._output,
            text=True,
            env=dict(environment),
            cwd=_REPOSITORY,
            start_new_session=True,
        )
        self._replies: Queue[dict[str, Any] | None] = Queue()
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()

    @property
    def runs(self) -> bool:
        """Whether it may be asked."""
        return self._process.poll() is None

    def told(self, seconds: float, command: Mapping[str, Any]) -> dict[str, Any]:
        """Its reply. Raises ``DriverFailed``."""
        assert self._process.stdin is not None
        reply: dict[str, Any] | None
        try:
            self._process.stdin.write(json.dumps(command, default=str) + "\n")
            self._process.stdin.flush()
            reply = self._replies.get(timeout=seconds)
        except (Empty, OSError):
            reply = {"failed": f"no answer within {seconds:g} s"}
        if reply is None or "failed" in reply:
            why = "it ended" if reply is None else reply["failed"]
            raise DriverFailed(
                f"{why}; {self._log} ends with: {self._log.read_text('utf-8', 'replace')[-3000:]}"
            )
        return reply

    def end(self) -> None:
        """End it. What it deployed stays."""
        self._process.kill()
        self._process.wait(20)
        self._listener.join(20)
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        self._process.stdout.close()
        self._output.close()

    def _listen(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.startswith("{"):
                self._replies.put(json.loads(line))
        self._replies.put(None)


def _lives(pid: int) -> bool:
    """Whether it runs. One whose parent has died, too, may stay in the table of processes for ever."""
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def wait_for(condition: Any, seconds: float, period: float = 0.2) -> float:
    """Ask until it holds; how many seconds that took. Raises ``TimeoutError``."""
    begun = time.perf_counter()
    while not condition():
        if time.perf_counter() - begun > seconds:
            raise TimeoutError(f"not within {seconds:g} s")
        time.sleep(period)
    return time.perf_counter() - begun
