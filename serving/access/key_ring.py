"""The keys as a gateway knows them: whose a key is, told in the same time whether there is such a key or not."""

from __future__ import annotations

import asyncio
import hmac
import logging
import time
from collections.abc import Callable

from serving.access.config import AccessConfig
from serving.access.keys import ApiKey, KeyStore, secret_digest, split_key
from serving.access.recent import Recent
from serving.errors import AuthenticationFailed, ServiceUnavailable
from serving.identity import Caller
from storage.errors import CorruptObject, StoreUnavailable

__all__ = ["KeyRing"]

_NOTED_SECONDS = 600.0  # of a key's use, no more often than this
_PATIENCE_SECONDS = 1.0  # with a store that hangs, for what is known from before
_NOBODYS = secret_digest("")  # hashed as keys are, and no key's

_log = logging.getLogger("manymodal.gateway")


class KeyRing:
    """Keys over a ``KeyStore``, at most ``AccessConfig.stale_seconds`` old. One per gateway, for one event loop.

    ``clock`` (monotonic seconds) is the time by which what is known grows old.
    """

    def __init__(
        self, store: KeyStore, config: AccessConfig, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._store = store
        self._clock = clock
        ages = config.fresh_seconds, config.stale_seconds, config.wait_seconds
        self._keys: Recent[ApiKey | None] = Recent(self._read, *ages, clock)
        self._any: Recent[bool] = Recent(lambda _: store.any(), *ages, clock)
        self._seen_any = self._told_of_none = False
        self._noted: dict[str, float] = {}

    async def has_keys(self) -> bool:
        """Whether a key was ever made. Once it is seen it stays so. Where there was none, there is none while the
        store does not answer: no key can be made then, and what needs no store goes on. Raises ``StoreUnavailable``
        or ``ServiceUnavailable`` when it was never told.
        """
        if not self._seen_any:
            try:
                async with asyncio.timeout(_PATIENCE_SECONDS if self._told_of_none else None):
                    self._seen_any = await self._any.get("")
                self._told_of_none = True
            except (StoreUnavailable, ServiceUnavailable, TimeoutError):
                if not self._told_of_none:
                    raise
        return self._seen_any

    async def caller_of(self, given: str) -> Caller:
        """Whose a key is. Raises ``AuthenticationFailed`` for one that may not be used, whatever the reason, and
        ``StoreUnavailable`` or ``ServiceUnavailable`` when that cannot be told.
        """
        parts = split_key(given)
        key_id, secret = ("", given[:100]) if parts is None else parts
        key = await self._keys.get(key_id) if parts and self._store.is_genuine(key_id) else None
        fits = hmac.compare_digest(secret_digest(secret), _NOBODYS if key is None else key.secret_sha256)
        if key is None or not fits or not key.is_good(self._store.clock()):
            raise AuthenticationFailed(
                "The API key is not one of this server, or has ended. Ask the operator for one "
                "(`manymodal keys create`)."
            )
        return Caller(key.tenant, key.scopes, key.id)

    def _read(self, key_id: str) -> ApiKey | None:
        try:
            key = self._store.get(key_id)
        except CorruptObject as error:  # nobody comes in by it
            _log.error("%s", error)
            return None
        # Keys are read anew only while they are used, so this is where their use is noted.
        if key is not None and self._clock() - self._noted.get(key_id, -_NOTED_SECONDS) >= _NOTED_SECONDS:
            self._noted[key_id] = self._clock()
            try:
                self._store.note_use(key_id)
            except StoreUnavailable as error:  # reading worked, so the key is good all the same
                _log.warning("The use of an API key was not noted: %s", error)
        return key
