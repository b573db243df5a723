"""The S3 store against a dictionary, on a real server, with restarts of the client as steps."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import rule, run_state_machine_as_test
from s3_server import S3Server
from store_machine import StoreMachine

from storage.s3.store import S3ObjectStore


@pytest.mark.timeout(180)
def test_the_store_is_a_dictionary(s3_server: S3Server) -> None:
    class S3Machine(StoreMachine):
        def __init__(self) -> None:
            super().__init__()
            self.config = s3_server.config
            self.store: S3ObjectStore = S3ObjectStore(self.config)

        @rule()
        def restart(self) -> None:
            self.store.close()
            self.store = S3ObjectStore(self.config)
            self.store.probe()

        def teardown(self) -> None:
            self.store.close()

    run_state_machine_as_test(
        S3Machine,
        settings=settings(
            max_examples=5,
            stateful_step_count=20,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
