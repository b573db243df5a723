"""The settings of tenants as a gateway knows them."""

from __future__ import annotations

import time
from collections.abc import Callable

from serving.access.config import AccessConfig
from serving.access.recent import Recent
from serving.access.tenant_store import TenantStore
from serving.tenant_settings import TenantSettings

__all__ = ["StoredTenants"]


class StoredTenants:
    """``serving.tenant_settings.TenantDirectory`` over a ``TenantStore``.

    While the store does not answer, what is known holds on; of a tenant that nothing is known of yet,
    ``StoreUnavailable`` is raised: its limits and its policy must not be passed over. ``clock`` gives seconds.
    """

    def __init__(
        self,
        store: TenantStore,
        defaults: TenantSettings,
        config: AccessConfig,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._defaults = defaults
        self._known = Recent(store.get, config.fresh_seconds, None, config.wait_seconds, clock)

    async def settings(self, tenant: str) -> TenantSettings:
        """Those of ``tenant``; the defaults where it has none of its own."""
        own = await self._known.get(tenant)
        return self._defaults if own is None else own
