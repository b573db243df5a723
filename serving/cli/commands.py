"""Mounting the client's commands on the ``manymodal`` application."""

from __future__ import annotations

import typer

from serving.cli.bench import bench
from serving.cli.chat import chat
from serving.cli.collections import collections_app
from serving.cli.embed import embed
from serving.cli.index import index
from serving.cli.media import media_app
from serving.cli.models import models
from serving.cli.moderate import moderate
from serving.cli.search import search
from serving.cli.speak import speak
from serving.cli.transcribe import transcribe
from serving.cli.warm_up import warm_up

__all__ = ["ASKING", "MEASURING", "STORING", "register"]

ASKING = "Ask and find"
STORING = "Keep and look through"
MEASURING = "Plan and measure"


def register(app: typer.Typer, models_app: typer.Typer) -> None:
    """Add the commands to ``app``; ``models_app`` alone, without a subcommand, lists the served models."""
    for command in (chat, transcribe, search, embed, moderate, speak):
        app.command(rich_help_panel=ASKING)(command)
    app.command(rich_help_panel=STORING)(index)
    app.add_typer(media_app, name="media", rich_help_panel=STORING)
    app.add_typer(collections_app, name="collections", rich_help_panel=STORING)
    app.command("warm-up", rich_help_panel=STORING)(warm_up)
    app.command(rich_help_panel=MEASURING)(bench)
    models_app.callback(invoke_without_command=True)(models)
