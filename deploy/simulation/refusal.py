"""How the model says no."""

from __future__ import annotations

__all__ = ["Refused"]


class Refused(Exception):
    """The platform answers with ``status``; the client may come again after ``retry_after_seconds``."""

    def __init__(self, status: int, retry_after_seconds: float) -> None:
        super().__init__(status, retry_after_seconds)
        self.status = status
        self.retry_after_seconds = retry_after_seconds
