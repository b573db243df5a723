"""A bar for an upload that takes a while, at a terminal."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from typing import BinaryIO

__all__ = ["shown_upload"]

_WORTH_A_BAR_BYTES = 4 << 20


@contextlib.contextmanager
def shown_upload(name: str, file: BinaryIO, size_bytes: int) -> Iterator[BinaryIO]:
    """``file``; at a terminal, when it is large, one that moves a bar on standard error while it is read."""
    if size_bytes < _WORTH_A_BAR_BYTES or not sys.stderr.isatty():
        yield file
        return
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

    from serving.cli.messages import harmless, notes

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(30),
        DownloadColumn(binary_units=True),
        TransferSpeedColumn(),
    )
    with Progress(*columns, console=notes(), transient=True) as progress:
        task = progress.add_task(harmless(name), total=size_bytes)
        yield progress.wrap_file(file, task_id=task)
