"""What can go wrong for a client. Every message is a sentence that says what to do next."""

from __future__ import annotations

__all__ = ["ClientFailure", "NoServer", "RequestRefused", "UnusableInput"]


class ClientFailure(Exception):
    """Base of the tree. ``exit_code`` is what a command ends with."""

    exit_code = 1

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class NoServer(ClientFailure):
    """Nobody answers at the address, or the connection broke."""


class RequestRefused(ClientFailure):
    """The server answered with an error ``status``; 0 when that is not known."""

    def __init__(self, message: str, status: int = 0) -> None:
        super().__init__(message)
        self.status = status


class UnusableInput(ClientFailure):
    """What the caller gave cannot be used; nothing was sent."""

    exit_code = 2
