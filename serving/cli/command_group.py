"""How every command ends: with an exit code and at most one sentence on standard error, never a stack trace."""

from __future__ import annotations

import os
import sys
from typing import Any

import typer
from typer.core import TyperGroup

from serving.cli.exit_codes import ExitCode
from serving.cli.failures import ClientFailure
from serving.cli.messages import say_error

__all__ = ["CommandGroup"]


class CommandGroup(TyperGroup):
    """The group of all commands: what a client meets ends here, and a pipe that nobody reads ends quietly."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command. Raises ``typer.Exit``, and whatever is no expected failure of a client."""
        try:
            return super().invoke(ctx)
        except ClientFailure as failure:
            say_error(failure.message)
            raise typer.Exit(failure.exit_code) from None
        except BrokenPipeError:
            _forget_output()
            raise typer.Exit(ExitCode.CLOSED_PIPE) from None
        except OSError as error:  # a full disk, a folder that may not be written to
            if not error.strerror:
                raise
            where = "" if error.filename is None else f" ('{error.filename}')"
            say_error(f"This machine did not let it be done: {error.strerror}{where}.")
            raise typer.Exit(ExitCode.FAILED) from None


def _forget_output() -> None:
    """What is still buffered must not raise once more when Python ends."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (sys.stdout, sys.stderr):
        try:
            os.dup2(nowhere, stream.fileno())
        except (OSError, ValueError):  # a stream without a descriptor, as in tests
            continue
    os.close(nowhere)
