"""The commands of a client, over HTTP."""

from __future__ import annotations

from serving.cli.commands import register

__all__ = ["register"]
