"""Where a paged answer goes on: an opaque token, signed by the platform and tied to one request of one tenant.

Nothing is kept for it, and every gateway with the same secret reads it.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import msgspec
from itsdangerous import BadData, URLSafeSerializer

from serving.errors import InvalidRequest
from serving.protocol.search import Wanted

__all__ = ["CursorSigner", "Position"]

_PURPOSE = b"manymodal.serving.search-cursor.1"  # keys differ from those of other uses of the same secret


@dataclass(frozen=True, slots=True)
class Position:
    """How many documents were given out, of which version the first answer was, and when it was asked for, so
    that ``last_30_days`` means the same on every page.
    """

    offset: int
    version: int
    asked_at_seconds: float


class CursorSigner:
    """Makes and reads cursors: HMAC-SHA256 by itsdangerous."""

    def __init__(self, secret: bytes) -> None:
        self._serializer = URLSafeSerializer(
            secret, salt=_PURPOSE, signer_kwargs={"key_derivation": "hmac", "digest_method": hashlib.sha256}
        )

    def sign(self, tenant: str, request: Wanted, position: Position) -> str:
        """The cursor of the answer that comes after ``position``."""
        fields = [
            _digest(tenant, request),
            position.offset,
            position.version,
            round(position.asked_at_seconds, 3),
        ]
        token = self._serializer.dumps(fields)
        return token if isinstance(token, str) else token.decode("ascii")

    def read(self, tenant: str, request: Wanted) -> Position | None:
        """Where ``request.cursor`` goes on; ``None`` without one.

        Raises ``InvalidRequest``: for a forged one, one of another tenant and one of another request alike.
        """
        if request.cursor is None:
            return None
        try:
            if not request.cursor.isascii():
                raise BadData("not a token")
            digest, offset, version, asked_at = self._serializer.loads(request.cursor)
        except BadData:
            raise _unknown() from None
        if digest != _digest(tenant, request):
            raise _unknown()
        return Position(offset, version, asked_at)


def _digest(tenant: str, request: Wanted) -> str:
    asked = request.model_dump(mode="json", exclude={"cursor"}, by_alias=True)
    told = msgspec.json.encode([type(request).__name__, tenant, asked], order="deterministic")
    return hashlib.sha256(told).hexdigest()[:32]


def _unknown() -> InvalidRequest:
    return InvalidRequest(
        "This 'cursor' does not belong to this request. Send the 'next_cursor' of the answer before, with the "
        "same fields as then.",
        "cursor",
        "invalid_cursor",
    )
