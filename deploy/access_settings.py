"""The settings of who may use the API."""

from __future__ import annotations

import ipaddress

from pydantic import BaseModel, ConfigDict

from serving.access.config import AccessConfig, AccessMode

__all__ = ["AccessSettings", "is_loopback"]


class AccessSettings(BaseModel):
    """``auto``: open on a loopback address while no key was ever made, else by keys. ``keys``: by keys. ``open``:
    open for whoever reaches the port, which must be on a loopback address.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    mode: AccessMode = "auto"

    def config(self, host: str) -> AccessConfig:
        """The settings as the gateway takes them. Raises ``ValueError`` for an open server that others reach."""
        if is_loopback(host):
            return AccessConfig(self.mode)
        if self.mode == "open":
            raise ValueError(
                f"access.mode 'open' would let everybody who reaches {host} use everything; "
                "use 'keys', or listen on 127.0.0.1"
            )
        return AccessConfig("keys")


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches an address."""
    return ipaddress.ip_address(host).is_loopback
