"""What keeps tenants apart in the engine's cache of prompts."""

from __future__ import annotations

import hashlib
import hmac

__all__ = ["cache_salt"]

_PURPOSE = b"prefix cache\0"


def cache_salt(secret: bytes, tenant: str) -> str:
    """The same for all prompts of a tenant, and telling nothing about it.

    Prompts share what the engine keeps of their beginnings only where their salts are the same.
    """
    return hmac.new(secret, _PURPOSE + tenant.encode(), hashlib.sha256).hexdigest()
