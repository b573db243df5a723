"""What can go wrong for a client. Every message is a sentence that says what to do next."""

from __future__ import annotations

from typing import ClassVar

from serving.cli.exit_codes import ExitCode

__all__ = ["ClientFailure", "NoAnswerInTime", "NoServer", "RequestRefused", "UnusableInput"]

_PASSING = frozenset({0, 408, 425, 429, 502, 503, 504})
"""Statuses that say nothing about the request itself; 0 is an answer that broke off."""


class ClientFailure(Exception):
    """Base of the tree. ``exit_code`` is what a command ends with."""

    _code: ClassVar[ExitCode] = ExitCode.FAILED

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message

    @property
    def exit_code(self) -> ExitCode:
        """What a command ends with."""
        return self._code


class NoServer(ClientFailure):
    """Nobody answers at the address, or the connection broke."""

    _code = ExitCode.NO_SERVER


class NoAnswerInTime(NoServer):
    """The server was reached, and did not answer within the client's time limit."""


class RequestRefused(ClientFailure):
    """The server answered with an error ``status``; 0 when that is not known."""

    def __init__(self, message: str, status: int = 0) -> None:
        super().__init__(message)
        self.status = status

    @property
    def exit_code(self) -> ExitCode:
        """Whether it makes sense to try the same again."""
        if self.status in _PASSING:
            return ExitCode.BUSY if self.status else ExitCode.FAILED
        return ExitCode.REFUSED if self.status < 500 else ExitCode.FAILED


class UnusableInput(ClientFailure):
    """What the caller gave cannot be used; nothing was sent."""

    _code = ExitCode.UNUSABLE
