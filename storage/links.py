"""Signed, expiring download links for stores that have no server of their own.

A link says whose file may be downloaded and until when, under the platform's secret; nothing is stored for it.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable

from itsdangerous import BadData, URLSafeSerializer

from storage.errors import LinkNotFound

__all__ = ["LinkSigner"]

_PURPOSE = b"manymodal.storage.link.1"  # keys differ from those of other uses of the same secret
_MAX_TOKEN_CHARACTERS = 1024
_NOT_FOUND = "This link is not valid: it may be mistyped, it may have expired, or its file is gone."


class LinkSigner:
    """Makes and reads the tokens of download links: HMAC-SHA256 by itsdangerous over tenant, id and expiry.

    ``clock`` gives seconds since the epoch. Every process with the same ``secret`` reads every link.
    """

    def __init__(self, secret: bytes, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._serializer = URLSafeSerializer(
            secret, salt=_PURPOSE, signer_kwargs={"key_derivation": "hmac", "digest_method": hashlib.sha256}
        )

    def sign(self, tenant: str, media_id: str, expires_at_seconds: int) -> str:
        """A token, safe in a URL's path, for one file of one tenant."""
        token = self._serializer.dumps([tenant, media_id, expires_at_seconds])
        return token if isinstance(token, str) else token.decode("ascii")

    @staticmethod
    def not_found() -> LinkNotFound:
        """What every link that leads nowhere is answered with."""
        return LinkNotFound(_NOT_FOUND)

    def read(self, token: str) -> tuple[str, str]:
        """Tenant and id of a token. Raises ``LinkNotFound`` for a forged one as for an expired one.

        Whether the file is still there is not looked at; a caller that finds it gone answers like ``not_found``.
        """
        try:
            if len(token) > _MAX_TOKEN_CHARACTERS or not token.isascii():
                raise BadData("not a token")
            tenant, media_id, expires_at_seconds = self._serializer.loads(token)
        except BadData:
            raise self.not_found() from None
        if self._clock() >= expires_at_seconds:
            raise self.not_found()
        return tenant, media_id
