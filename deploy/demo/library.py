"""The samples on the platform: each is uploaded when first needed, then goes by its id."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console

from deploy.demo.report import print_fact
from deploy.demo.samples import Samples
from serving.cli.client import Server

__all__ = ["Library"]


class Library:
    """Names of samples to files and media ids. One per tour."""

    def __init__(self, server: Server, samples: Samples, console: Console) -> None:
        self.samples = samples
        self._server = server
        self._console = console
        self._files = {**samples.pictures, "speech": samples.speech, "video": samples.video}
        self._kinds = {**dict.fromkeys(samples.pictures, "image"), "speech": "audio", "video": "video"}
        self._ids: dict[str, str] = {}

    @property
    def names(self) -> tuple[str, ...]:
        """All samples."""
        return tuple(self._files)

    def file(self, name: str) -> Path:
        """Where the sample lies on this machine."""
        return self._files[name]

    def kind(self, name: str) -> str:
        """``image``, ``audio`` or ``video``."""
        return self._kinds[name]

    def media_id(self, name: str) -> str:
        """The sample's id on the platform."""
        if name not in self._ids:
            path = self._files[name]
            self._ids[name] = self._server.upload(path)["id"]
            size = f"{path.stat().st_size / 1000:.0f} kB"
            print_fact(self._console, "uploaded", f"{path.name} ({size}) as {self._ids[name]}")
        return self._ids[name]
