"""What a page must not do while a test drives it: fail, complain, break its own policy, or ask anybody else."""

from __future__ import annotations

from urllib.parse import urlsplit

from playwright.sync_api import ConsoleMessage, Error, Page, Request

__all__ = ["Watch"]

_LOUD = frozenset({"error", "warning"})
_OWN = frozenset({"blob", "data"})


class Watch:
    """Sees everything that a page does. ``faults()`` at the end; what a test brings about it says to ``expect``."""

    def __init__(self, page: Page, origin: str) -> None:
        self._origin = origin
        self._faults: list[str] = []
        self._expected: list[str] = []
        page.on("pageerror", self._failed)
        page.on("console", self._said)
        page.on("request", self._asked)

    def expect(self, words: str) -> None:
        """Complaints of the console that hold ``words`` are no fault: Chromium notes every answer over 399."""
        self._expected.append(words)

    def faults(self) -> list[str]:
        """What was wrong."""
        return [fault for fault in self._faults if not any(words in fault for words in self._expected)]

    def _failed(self, error: Error) -> None:
        self._faults.append(f"page error: {error}")

    def _said(self, message: ConsoleMessage) -> None:
        if message.type in _LOUD:
            self._faults.append(f"console {message.type}: {message.text}")

    def _asked(self, request: Request) -> None:
        address = urlsplit(request.url)
        if address.scheme not in _OWN and f"{address.scheme}://{address.netloc}" != self._origin:
            self._faults.append(f"a request to another origin: {request.url}")
