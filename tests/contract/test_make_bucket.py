"""The bucket for stores that come up beside the platform, on a real S3 server."""

from __future__ import annotations

import secrets
from dataclasses import replace

import pytest
from s3_server import S3Server

from deploy.make_bucket import main, make_bucket
from storage.errors import StoreUnavailable
from storage.s3.store import S3ObjectStore


def test_a_bucket_is_made_once_and_can_be_written_to(s3_server: S3Server):
    config = replace(s3_server.config, bucket=f"made-{secrets.token_hex(6)}")
    with pytest.raises(StoreUnavailable, match="does not exist"):
        S3ObjectStore(config).probe()
    make_bucket(config, patience_seconds=30)
    make_bucket(config, patience_seconds=30)
    S3ObjectStore(config).probe()


def test_a_store_that_does_not_answer_is_given_up(s3_server: S3Server):
    # Port 9 is discard's: nobody listens.
    config = replace(s3_server.config, endpoint_url="http://127.0.0.1:9", max_attempts=1)
    with pytest.raises(StoreUnavailable):
        make_bucket(config, patience_seconds=0.3)


def test_settings_without_a_bucket_are_said(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setenv("MANYMODAL_PROFILE", "laptop")
    assert main() == 2
    assert "MANYMODAL_STORAGE__S3__BUCKET" in capsys.readouterr().err
