"""What every command ends with. The table is shown in ``docs/cli.md``."""

from __future__ import annotations

from enum import IntEnum
from typing import Final

__all__ = ["EXIT_CODES", "ExitCode"]


class ExitCode(IntEnum):
    """Exit codes of ``manymodal``; ``EXIT_CODES`` says what each means."""

    DONE = 0
    FAILED = 1
    UNUSABLE = 2
    NO_SERVER = 3
    REFUSED = 4
    BUSY = 5
    INTERRUPTED = 130
    CLOSED_PIPE = 141


EXIT_CODES: Final[dict[ExitCode, str]] = {
    ExitCode.DONE: "done, and what was checked is in order",
    ExitCode.FAILED: "it failed or a part of it did, or what was checked is not in order (`doctor`, `verify`, "
    "`audit verify`, `status` of a platform that is not ready, `moderate` of what is flagged)",
    ExitCode.UNUSABLE: "options, arguments, files or settings cannot be used; nothing was sent and nothing changed",
    ExitCode.NO_SERVER: "nobody answers at the address, or the connection broke off",
    ExitCode.REFUSED: "the platform refused the request; its sentence says why (a key that is not taken, an id "
    "that is not there, a medium that cannot be read)",
    ExitCode.BUSY: "the platform has no room now, or something in it is down: the same may work a moment later",
    ExitCode.INTERRUPTED: "Ctrl-C",
    ExitCode.CLOSED_PIPE: "whoever read the output stopped reading, as `head` does",
}
