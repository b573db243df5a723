"""The answer to "who asks?", by the mode the API is reached in."""

from __future__ import annotations

import re
from collections.abc import Sequence

from serving.access.config import AccessConfig
from serving.access.key_ring import KeyRing
from serving.errors import AuthenticationFailed
from serving.identity import Caller

__all__ = ["Access"]

_BEARER = re.compile(r"[Bb][Ee][Aa][Rr][Ee][Rr] +(\S{1,512})")


class Access:
    """Tells the caller of a request. ``open_tenant`` is whose requests are where no key is needed."""

    def __init__(self, config: AccessConfig, ring: KeyRing, open_tenant: str) -> None:
        self.mode = config.mode
        self._ring = ring
        self._open = Caller(open_tenant)

    async def caller(self, authorization: Sequence[str]) -> Caller:
        """The caller by its ``Authorization`` headers. Raises ``AuthenticationFailed``, and ``StoreUnavailable`` or
        ``ServiceUnavailable`` when keys cannot be read: then nobody comes in.
        """
        if self.mode == "open" or (self.mode == "auto" and not await self._ring.has_keys()):
            return self._open
        found = _BEARER.fullmatch(authorization[0].strip()) if len(authorization) == 1 else None
        if found is None:
            raise AuthenticationFailed(
                "This server needs an API key. Send it in one header: 'Authorization: Bearer YOUR_KEY'."
            )
        return await self._ring.caller_of(found[1])
