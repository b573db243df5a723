"""`manymodal keys`, `tenants` and `audit`, and what a platform that others reach needs to start."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry
from typer.testing import CliRunner, Result

from deploy.access import key_store, require_usable_key, temporary_key, tenant_store
from deploy.cli import app
from deploy.errors import NoApiKeys
from deploy.settings import Settings, load_settings
from serving.audit.chain import HEADS
from serving.audit.log import AuditLog, AuditMetrics
from serving.identity import ALL_SCOPES
from storage.backends import open_object_store
from storage.errors import InvalidKey

EVERYWHERE = "0.0.0.0"  # noqa: S104 -- nothing listens here


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return load_settings({"data_dir": tmp_path / "data"})


def run(settings: Settings, *arguments: str) -> Result:
    return CliRunner().invoke(app, [*arguments, "--data-dir", str(settings.data_dir)])


def created(settings: Settings, *options: str) -> dict:
    result = run(settings, "keys", "create", "--json", *options)
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def test_a_life_of_keys(settings: Settings) -> None:
    assert "There are no keys" in run(settings, "keys", "list").stdout
    key = created(settings, "--name", "ci", "--tenant", "acme", "-s", "chat", "-s", "files")
    assert (key["name"], key["tenant"], key["scopes"]) == ("ci", "acme", ["chat", "files"])
    plain = run(settings, "keys", "create")
    assert plain.stdout.startswith("mm_")
    assert plain.stdout.count("\n") == 1  # the key alone, to be taken by a script
    rotated = json.loads(run(settings, "keys", "rotate", key["id"], "--json").stdout)
    assert rotated["scopes"] == key["scopes"]
    assert run(settings, "keys", "revoke", rotated["id"]).exit_code == 0
    listed = {row["id"]: row for row in json.loads(run(settings, "keys", "list", "--json").stdout)}
    assert len(listed) == 3
    assert (listed[key["id"]]["state"], listed[rotated["id"]]["state"]) == ("revoked", "revoked")
    assert not any("key" in row or "secret_sha256" in row for row in listed.values())
    shown = run(settings, "keys", "list").stdout
    assert plain.stdout.strip() not in shown
    assert key["id"] in shown  # whole, to be copied
    for arguments in (("revoke", "0" * 24), ("rotate", key["id"]), ("rotate", "../x")):
        assert run(settings, "keys", *arguments).exit_code == 1


def test_a_key_has_all_scopes_but_admin_by_default_and_may_end(settings: Settings) -> None:
    key = created(settings, "--expires-in-days", "1")
    assert set(key["scopes"]) == ALL_SCOPES - {"admin"}
    assert key["expires_at"] - key["created_at"] == 24 * 3600
    for wrong in (("-s", "everything"), ("--expires-in-days", "-1")):
        assert run(settings, "keys", "create", *wrong).exit_code == 2
    with pytest.raises(InvalidKey):
        CliRunner().invoke(
            app,
            ["keys", "create", "--tenant", "../x", "--data-dir", str(settings.data_dir)],
            catch_exceptions=False,
        )


@pytest.mark.parametrize("length", ["inf", "nan", "1e300", "1e7"])
def test_times_that_no_calendar_has_are_refused(settings: Settings, length: str) -> None:
    answer = run(settings, "keys", "create", "--expires-in-days", length)
    assert (answer.exit_code, type(answer.exception)) == (2, SystemExit), answer.output
    answer = run(settings, "keys", "rotate", "0" * 24, "--overlap-hours", length)
    assert (answer.exit_code, type(answer.exception)) == (2, SystemExit), answer.output


def test_records_of_another_secret_are_shown_as_unreadable(settings: Settings) -> None:
    key = created(settings)
    (settings.data_dir / "secret").write_bytes(bytes(32))
    (row,) = json.loads(run(settings, "keys", "list", "--json").stdout)
    assert (row["id"], row["state"]) == (key["id"], "unreadable")


@pytest.mark.parametrize(
    ("host", "mode", "wanted"),
    [
        ("127.0.0.1", "auto", "auto"),
        ("127.0.0.1", "open", "open"),
        ("127.0.0.1", "keys", "keys"),
        (EVERYWHERE, "auto", "keys"),
        ("10.0.0.1", "keys", "keys"),
    ],
)
def test_how_the_api_is_reached(tmp_path: Path, host: str, mode: str, wanted: str) -> None:
    settings = load_settings({"data_dir": tmp_path, "host": host, "access": {"mode": mode}})
    assert settings.gateway_config().access.mode == wanted


def test_nobody_opens_a_public_address() -> None:
    with pytest.raises(ValueError, match="would let everybody"):
        load_settings({"host": EVERYWHERE, "access": {"mode": "open"}})


def test_a_public_address_needs_a_key_that_lets_somebody_in(tmp_path: Path) -> None:
    settings = load_settings({"data_dir": tmp_path, "host": EVERYWHERE})
    with pytest.raises(NoApiKeys, match="manymodal keys create"):
        require_usable_key(settings)
    store = key_store(settings)
    key, _ = store.create("", "default", {"chat"})
    require_usable_key(settings)
    store.revoke(key.id)
    with pytest.raises(NoApiKeys):
        require_usable_key(settings)
    require_usable_key(load_settings({"data_dir": tmp_path}))


def test_the_demo_has_a_key_where_it_needs_one_and_leaves_none(settings: Settings) -> None:
    with temporary_key(settings) as key:
        assert key is None
    store = key_store(settings)
    store.create("", "default", {"chat"})
    with temporary_key(settings) as key:
        assert key is not None
    states = [store.get(key_id).revoked_at_seconds is None for key_id in store.ids()]
    assert sorted(states) == [False, True]


def test_settings_of_tenants(settings: Settings) -> None:
    assert json.loads(run(settings, "tenants", "show").stdout) == {}
    given = ("--limit", "requests_per_minute=60", "--limit", "stored_bytes=0", "--moderate", "ingest")
    result = run(settings, "tenants", "set", "acme", *given, "--threshold", "0.8", "--threshold", "hate=0.2")
    assert result.exit_code == 0, result.output
    run(settings, "tenants", "set", "acme", "--limit", "stored_bytes=none", "--moderate", "nowhere")
    found = tenant_store(settings).get("acme")
    assert (found.limits.requests_per_minute, found.limits.stored_bytes) == (60, None)
    assert (found.moderation.places, found.moderation.threshold) == (frozenset(), 0.8)
    assert found.moderation.thresholds == {"hate": 0.2}
    shown = json.loads(run(settings, "tenants", "show", "acme").stdout)["acme"]
    assert (shown["is_default"], shown["limits"]["requests_per_minute"]) == (False, 60)
    for wrong in (
        ("--limit", "wishes=3"),
        ("--limit", "stored_bytes=-1"),
        ("--moderate", "everywhere"),
        ("--threshold", "2"),
        ("--threshold", "rudeness=0.5"),
        ("--threshold", "hate=nan"),
    ):
        assert run(settings, "tenants", "set", "acme", *wrong).exit_code == 2, wrong
    assert tenant_store(settings).get("acme") == found
    assert json.loads(run(settings, "tenants", "set", "acme", "--reset").stdout)["acme"]["is_default"]
    assert tenant_store(settings).get("acme") is None


async def test_the_audit_log(settings: Settings) -> None:
    objects = open_object_store(settings.storage_config())
    log = AuditLog(objects, settings.secret_bytes(), AuditMetrics(CollectorRegistry()))
    log.note("request", {"tenant": "acme", "key": None, "route": "/v1/files"})
    log.note("request", {"tenant": "other", "key": None, "route": "/v1/files"})
    await log.close()
    result = run(settings, "audit", "verify", "--json")
    assert (result.exit_code, json.loads(result.stdout)["entries"]) == (0, 4)
    assert "Clean" in run(settings, "audit", "verify").stdout
    (line,) = run(settings, "audit", "show", "--tenant", "acme").stdout.splitlines()
    assert json.loads(line)["route"] == "/v1/files"
    objects.delete(HEADS + log.gateway)
    result = run(settings, "audit", "verify")
    assert (result.exit_code, "Not clean" in result.stdout) == (1, True)
