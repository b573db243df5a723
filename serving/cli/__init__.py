"""The commands of a client: ``chat``, ``transcribe``, ``index``, ``search`` and ``models`` over HTTP."""

from __future__ import annotations

from serving.cli.commands import register

__all__ = ["register"]
