"""Keys and tenants' settings of a platform, from its settings: for commands, and to be checked before it starts."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator

from deploy.errors import NoApiKeys
from deploy.settings import Settings
from serving.access.keys import KeyStore
from serving.access.tenant_store import TenantStore
from serving.identity import ALL_SCOPES
from storage.backends import open_object_store
from storage.errors import CorruptObject

__all__ = ["key_store", "require_usable_key", "temporary_key", "tenant_store"]

_DEMO_SECONDS = 3600


def key_store(settings: Settings) -> KeyStore:
    """The platform's keys. Raises ``StoreUnavailable``."""
    return KeyStore(open_object_store(settings.storage_config()), settings.secret_bytes())


def tenant_store(settings: Settings) -> TenantStore:
    """The platform's settings of tenants. Raises ``StoreUnavailable``."""
    return TenantStore(open_object_store(settings.storage_config()))


def require_usable_key(settings: Settings) -> None:
    """Where keys are needed, see that somebody can come in. Raises ``NoApiKeys``, ``StoreUnavailable``."""
    if settings.access.config(settings.host).mode != "keys":
        return
    store = key_store(settings)
    for key_id in store.ids():
        try:
            key = store.get(key_id)
        except CorruptObject:
            continue
        if key is not None and key.is_good(store.clock()):
            return
    raise NoApiKeys(
        f"The platform was not started: on {settings.host} it needs API keys, and its store has none that may be "
        "used. Make one first: manymodal keys create --name NAME"
    )


@contextlib.contextmanager
def temporary_key(settings: Settings) -> Iterator[str | None]:
    """A key for the time of the context, at most an hour; ``None`` where the API is open."""
    store = key_store(settings)
    mode = settings.access.config(settings.host).mode
    if mode == "open" or (mode == "auto" and not store.any()):
        yield None
        return
    ends_at = int(time.time()) + _DEMO_SECONDS
    key, text = store.create("demo", "default", ALL_SCOPES - {"admin"}, ends_at)
    try:
        yield text
    finally:
        store.revoke(key.id)
