"""Mounting the client's commands on the ``manymodal`` application."""

from __future__ import annotations

import typer

from serving.cli.chat import chat
from serving.cli.index import index
from serving.cli.models import models
from serving.cli.search import search
from serving.cli.transcribe import transcribe
from serving.cli.warm_up import warm_up

__all__ = ["register"]


def register(app: typer.Typer, models_app: typer.Typer) -> None:
    """Add the commands to ``app``; ``models_app`` alone, without a subcommand, lists the served models."""
    app.command()(chat)
    app.command()(transcribe)
    app.command()(index)
    app.command()(search)
    app.command("warm-up")(warm_up)
    models_app.callback(invoke_without_command=True)(models)
