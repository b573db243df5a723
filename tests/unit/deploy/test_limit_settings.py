"""The settings of what tenants may use reach the gateway."""

from __future__ import annotations

import pytest

from deploy.limit_settings import TenantLimitSettings, requests_at_once
from deploy.settings import load_settings
from serving.limits.config import TenantLimits


def test_limits_reach_the_gateway(monkeypatch, tmp_path):
    monkeypatch.setenv("MANYMODAL_TENANT_LIMITS__REQUESTS_PER_MINUTE", "60")
    monkeypatch.setenv("MANYMODAL_TENANT_LIMITS__STORED_BYTES", "1000000")
    settings = load_settings({"data_dir": tmp_path})
    config = settings.gateway_config()
    assert config.tenant_defaults.limits == TenantLimits(requests_per_minute=60, stored_bytes=1_000_000)
    assert config.engine_slots == settings.chat.max_streams
    assert config.max_requests < settings.deployments["gateway"].max_ongoing_requests


@pytest.mark.parametrize("wrong", [0, -1, 1 << 51])
def test_amounts_are_checked(wrong):
    with pytest.raises(ValueError):
        TenantLimitSettings(tokens_per_minute=wrong)
    assert TenantLimitSettings(tokens_per_minute=1).limits().tokens_per_minute == 1


def test_there_is_always_a_place():
    assert [requests_at_once(most) for most in (1, 2, 16, 256)] == [1, 1, 15, 240]
