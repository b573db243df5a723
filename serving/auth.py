"""Whose request this is. One dependency, so that API keys (a later issue) have one place to go."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Request

from serving.gateway import Gateway, gateway_of

__all__ = ["CurrentTenant", "current_tenant"]


def current_tenant(request: Request) -> str:
    """The tenant every stored or searched thing of this request belongs to."""
    gateway: Gateway = gateway_of(request)
    return gateway.config.default_tenant


CurrentTenant = Annotated[str, Depends(current_tenant)]
"""Parameter type for routes."""
