"""Keys, settings of tenants and the audit log on both kinds of store, shared by two gateways."""

from __future__ import annotations

from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from serving.access.config import AccessConfig
from serving.access.key_ring import KeyRing
from serving.access.keys import KeyStore
from serving.access.tenant_store import TenantStore
from serving.audit.log import AuditLog, AuditMetrics
from serving.audit.verification import entries, verify_audit
from serving.errors import AuthenticationFailed
from serving.limits.config import TenantLimits
from serving.tenant_settings import TenantSettings
from storage.backends import open_object_store
from storage.config import StorageConfig
from storage.objects import ObjectStore

SECRET = b"0123456789abcdef"


@pytest.fixture(params=["local", "s3"])
def objects(request: pytest.FixtureRequest, tmp_path: Path) -> ObjectStore:
    s3 = request.getfixturevalue("s3_server").config if request.param == "s3" else None
    return open_object_store(StorageConfig(tmp_path / "store", tmp_path / "spool", s3=s3))


async def test_a_key_that_one_revokes_is_refused_by_the_other(objects: ObjectStore) -> None:
    operator = KeyStore(objects, SECRET)
    assert not operator.any()
    ring = KeyRing(KeyStore(objects, SECRET), AccessConfig("keys", fresh_seconds=0.0, stale_seconds=0.0))
    key, text = operator.create("ci", "acme", {"chat"})
    assert (await ring.caller_of(text)).key_id == key.id
    assert operator.last_used_seconds(key.id) is not None
    operator.revoke(key.id)
    with pytest.raises(AuthenticationFailed):
        await ring.caller_of(text)
    assert (operator.ids(), operator.any()) == ([key.id], True)


def test_settings_of_tenants(objects: ObjectStore) -> None:
    store = TenantStore(objects)
    wanted = TenantSettings(TenantLimits(stored_bytes=5))
    store.put("acme", wanted)
    store.put("other", TenantSettings())
    assert (store.get("acme"), store.tenants()) == (wanted, ["acme", "other"])
    store.delete("acme")
    assert (store.get("acme"), store.tenants()) == (None, ["other"])


async def test_chains_of_two_gateways(objects: ObjectStore) -> None:
    for _ in range(2):
        log = AuditLog(objects, SECRET, AuditMetrics(CollectorRegistry()))
        for number in range(3):
            log.note("request", {"status": number})
            assert await log.flush()
        await log.close()
    report = verify_audit(objects, SECRET)
    assert (report.findings, report.chains, report.entries) == ((), 2, 10)
    first = next(info.key for info in objects.list("audit/"))
    assert len([entry for entry in entries(objects) if entry["kind"] == "request"]) == 6
    objects.put(first, objects.get(first).replace(b'"status":0', b'"status":1'))
    assert not verify_audit(objects, SECRET).clean
