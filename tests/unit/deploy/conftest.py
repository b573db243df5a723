"""Fixtures of tests of what is deployed."""

from __future__ import annotations

import pytest
from manifests import OVERLAYS, Manifests, rendered


@pytest.fixture(params=OVERLAYS)
def manifests(request: pytest.FixtureRequest) -> Manifests:
    """Each overlay of the Kubernetes manifests as it is applied."""
    return rendered(request.param)
