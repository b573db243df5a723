"""`python -m deploy.make_bucket`: the bucket that the settings name, for stores that come up beside the platform.

A provider's buckets are made by whoever owns the account; this is for SeaweedFS in compose and on test clusters.
"""

from __future__ import annotations

import sys

from tenacity import Retrying, retry_if_exception_type, stop_after_delay, wait_exponential_jitter

from deploy.settings import load_settings
from storage.config import S3Config, StorageConfig
from storage.errors import StorageError
from storage.s3.connection import S3Connection
from storage.s3.store import S3ObjectStore

__all__ = ["main", "make_bucket"]


def make_bucket(config: S3Config, patience_seconds: float) -> None:
    """Make the bucket unless it is there, and see that it can be written to. A store that is not up is waited for.

    Raises ``StorageError`` when the bucket cannot be used after ``patience_seconds``.
    """
    for attempt in Retrying(
        retry=retry_if_exception_type(StorageError),
        stop=stop_after_delay(patience_seconds),
        wait=wait_exponential_jitter(multiplier=0.2, max=5),
        reraise=True,
    ):
        with attempt:
            # A connection of its own for each: after a few failures one stops asking for a while.
            try:
                S3ObjectStore(config).probe()
            except StorageError:
                S3Connection(config, recovery_seconds=1).call("create_bucket")
                S3ObjectStore(config).probe()


def main() -> int:
    """Exit code 0 when the bucket is there, 1 when it is not, 2 when the settings name none."""
    try:
        config: StorageConfig = load_settings().storage_config()
    except ValueError as error:
        print(error, file=sys.stderr)  # noqa: T201 -- a command's answer
        return 2
    if config.s3 is None:
        print("No bucket is set: MANYMODAL_STORAGE__S3__BUCKET.", file=sys.stderr)  # noqa: T201 -- the same
        return 2
    try:
        make_bucket(config.s3, patience_seconds=120)
    except StorageError as error:
        print(error, file=sys.stderr)  # noqa: T201 -- the same
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
