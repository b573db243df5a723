"""What the profile ``cluster`` needs of the environment, as values that lead nowhere."""

from __future__ import annotations

__all__ = ["CLUSTER"]

CLUSTER = {
    "MANYMODAL_STORAGE__S3__BUCKET": "manymodal",
    "MANYMODAL_STORAGE__REDIS_URL": "redis://:password-of-redis@127.0.0.1:1/0",
    "MANYMODAL_SECRET": "5ec7" * 16,
}
