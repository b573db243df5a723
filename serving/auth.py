"""Whose request this is: one dependency for routes."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Request

from serving.errors import AuthenticationFailed
from serving.identity import CALLER_KEY, Caller

__all__ = ["CurrentCaller", "CurrentTenant", "current_caller", "current_tenant"]


def current_caller(request: Request) -> Caller:
    """Who asks, as the gate has found out (``serving.access.gate``)."""
    caller: Caller | None = request.scope.get(CALLER_KEY)
    if caller is None:  # the gate lets nobody by without one but to routes that do not ask
        raise AuthenticationFailed("This needs an API key.")
    return caller


CurrentCaller = Annotated[Caller, Depends(current_caller)]
"""Parameter type for routes that need more than the tenant."""


def current_tenant(request: Request) -> str:
    """The tenant every stored or searched thing of this request belongs to."""
    return current_caller(request).tenant


CurrentTenant = Annotated[str, Depends(current_tenant)]
"""Parameter type for routes."""
