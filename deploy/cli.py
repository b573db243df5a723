"""The ``manymodal`` command: all commands in one application, and how what they meet is told."""

from __future__ import annotations

import typer

from deploy.audit_command import audit_app
from deploy.check_commands import doctor, verify
from deploy.config_command import config_app
from deploy.deploy_command import deploy
from deploy.errors import DeployError
from deploy.ingest_command import ingest_cluster
from deploy.keys_command import keys_app
from deploy.logs_command import logs
from deploy.models_command import models_app
from deploy.planning.command import plan
from deploy.samples_command import samples
from deploy.serve_command import demo, serve
from deploy.simulate_command import simulate
from deploy.status_command import status
from deploy.tenants_command import tenants_app
from deploy.train_command import train_bridge
from deploy.up_command import down, up
from encoders.errors import EncoderError
from fusion.errors import FusionError
from search.errors import SearchError
from serving.cli.command_group import CommandGroup
from serving.cli.commands import MEASURING, STORING, register
from serving.cli.exit_codes import ExitCode
from serving.cli.messages import say_error
from storage.errors import StorageError

__all__ = ["app", "main"]

_RUNNING = "Run the platform"
_LOOKING_AFTER = "Look after it"

app = typer.Typer(
    name="manymodal",
    cls=CommandGroup,
    help="Text, images, audio and video behind one OpenAI-compatible API, on your own machines.",
    epilog="Exit codes, pipes, shell completion: docs/cli.md.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
for command in (up, down, status, logs, serve, demo):
    app.command(rich_help_panel=_RUNNING)(command)
app.command(rich_help_panel=_RUNNING)(deploy)
register(app, models_app)
app.command("ingest-cluster", rich_help_panel=STORING)(ingest_cluster)
app.add_typer(models_app, name="models", rich_help_panel=_LOOKING_AFTER)
app.add_typer(config_app, name="config", rich_help_panel=_LOOKING_AFTER)
app.add_typer(keys_app, name="keys", rich_help_panel=_LOOKING_AFTER)
app.add_typer(tenants_app, name="tenants", rich_help_panel=_LOOKING_AFTER)
app.add_typer(audit_app, name="audit", rich_help_panel=_LOOKING_AFTER)
app.command(rich_help_panel=_LOOKING_AFTER)(doctor)
app.command(rich_help_panel=_LOOKING_AFTER)(verify)
app.command(rich_help_panel=MEASURING)(plan)
app.command(rich_help_panel=MEASURING)(simulate)
app.command("train-bridge", rich_help_panel=MEASURING)(train_bridge)
app.command(rich_help_panel=MEASURING)(samples)


def main() -> None:
    """Entry point: every expected failure is one sentence on standard error and an exit code."""
    try:
        app()
    except (DeployError, EncoderError, FusionError, SearchError, StorageError) as error:
        say_error(error.message)
        raise SystemExit(ExitCode.FAILED) from None
