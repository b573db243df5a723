"""How the S3 object store talks to its server: clients, retries, timeouts, circuit breaker, errors in our words."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any, Literal, TypeAlias

import boto3
from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    FlexibleChecksumError,
    HTTPClientError,
    NoCredentialsError,
    PartialCredentialsError,
)
from botocore.exceptions import (
    ConnectionError as BotoConnectionError,
)
from circuitbreaker import CircuitBreaker

from storage.config import S3Config
from storage.errors import CorruptObject, ObjectNotFound, StorageError, StoreUnavailable

__all__ = ["Refusal", "S3Connection"]

_LOG = logging.getLogger(__name__)
_SLOW_TIMEOUT_SECONDS = 60.0
_SLOW_FROM_BYTES = 64 << 20
_CONNECTIONS = 64  # kept open per client; more threads than that open connections of their own for a call
_FAILURES_UNTIL_OPEN = 3  # calls in a row, each after its own retries

_Kind: TypeAlias = Literal["taken", "conflict", "upload gone", "range"]
_KINDS: dict[str, _Kind] = {
    "PreconditionFailed": "taken",
    "412": "taken",
    "ConditionalRequestConflict": "conflict",
    "NoSuchUpload": "upload gone",
    "InvalidRange": "range",
    "416": "range",
}
_MISSING = {"NoSuchKey", "NotFound", "404", "NoSuchLifecycleConfiguration"}
_CREDENTIALS = {
    *("AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken", "InvalidToken"),
    *("InvalidSecurity", "401", "403", "Forbidden"),
}
_NO_ANSWER = (HTTPClientError, BotoConnectionError)
_REGION = {"AuthorizationHeaderMalformed", "PermanentRedirect", "IllegalLocationConstraintException", "301"}
_FULL = {"XMinioStorageFull", "QuotaExceeded", "InsufficientStorage", "507"}


_session_lock = threading.Lock()


@cache
def _session() -> Any:
    """boto3's description of S3, read once per process. Clients are safe to share among threads, this is not."""
    return boto3.session.Session()


class Refusal(Exception):
    """The server's answer to a condition: no failure, the caller knows what it means.

    ``retried`` tells that an earlier try of this call got no answer and may have had its effect.
    """

    def __init__(self, kind: _Kind, retried: bool) -> None:
        super().__init__(kind, retried)
        self.kind = kind
        self.retried = retried


class S3Connection:
    """Calls of one bucket. Threads may share it.

    After ``_FAILURES_UNTIL_OPEN`` failed calls in a row every further one fails at once, so that a dead store does
    not hold all threads until their timeouts; after ``recovery_seconds`` one call at a time tries again.

    Raises ``StoreUnavailable`` for settings that cannot name any server.
    """

    def __init__(self, config: S3Config, recovery_seconds: float) -> None:
        self.config = config
        self._quick = self._client(config.endpoint_url, config.read_timeout_seconds, config.max_attempts)
        self._slow = self._client(config.endpoint_url, _SLOW_TIMEOUT_SECONDS, min(2, config.max_attempts))
        public = config.public_endpoint_url
        self._public = self._quick if public is None else self._client(public, config.read_timeout_seconds, 1)
        self._breaker = CircuitBreaker(
            failure_threshold=_FAILURES_UNTIL_OPEN,
            recovery_timeout=recovery_seconds,
            expected_exception=_is_failure,
            name="object store",
        )
        self._trial = threading.Lock()

    def call(self, operation: str, *, moved_bytes: int = 0, **parameters: Any) -> dict[str, Any]:
        """One S3 operation on the bucket by boto3's name, retried with exponential backoff and jitter.

        ``moved_bytes`` is what the server must move before it answers (a copy, a completed upload): many get
        a longer timeout. Raises ``ObjectNotFound``, ``CorruptObject``, ``StoreUnavailable``, and ``Refusal``
        for conditions.
        """
        client = self._slow if moved_bytes >= _SLOW_FROM_BYTES else self._quick
        with self._let_through():
            try:
                with self._breaker:
                    answer: dict[str, Any] = getattr(client, operation)(
                        Bucket=self.config.bucket, **parameters
                    )
            except (BotoCoreError, ClientError) as error:
                raise _translate(error, operation) from error
        return answer

    def lifecycle_rules(self) -> list[dict[str, Any]]:
        """The bucket's lifecycle rules; none when nobody has set any."""
        try:
            rules: list[dict[str, Any]] = self.call("get_bucket_lifecycle_configuration").get("Rules", [])
        except ObjectNotFound:
            return []
        return rules

    def presigned(self, operation: str, expires_seconds: int, **parameters: Any) -> str:
        """A link to one operation, signed for the address by which outsiders reach the server."""
        try:
            link: str = self._public.generate_presigned_url(
                operation, Params={"Bucket": self.config.bucket, **parameters}, ExpiresIn=expires_seconds
            )
        except BotoCoreError as error:
            raise _translate(error, operation) from error
        return link

    def close(self) -> None:
        """Close the idle connections; the next call opens new ones."""
        for client in (self._quick, self._slow, self._public):
            client.close()

    @contextmanager
    def _let_through(self) -> Iterator[None]:
        if self._breaker.closed:
            yield
            return
        if self._breaker.opened or not self._trial.acquire(blocking=False):
            raise StoreUnavailable("The object store did not answer just now. Try again in a few seconds.")
        try:
            yield
        finally:
            self._trial.release()

    def _client(self, endpoint_url: str | None, read_timeout_seconds: float, attempts: int) -> Any:
        config = self.config
        settings = Config(
            signature_version="s3v4",  # boto3 would sign links with v2, which new servers refuse
            s3={"addressing_style": "path" if config.path_style else "virtual"},
            connect_timeout=config.connect_timeout_seconds,
            read_timeout=read_timeout_seconds,
            retries={"mode": "standard", "total_max_attempts": attempts},
            max_pool_connections=_CONNECTIONS,
            tcp_keepalive=True,
        )
        try:
            with _session_lock:
                return _session().client(
                    "s3",
                    endpoint_url=endpoint_url,
                    region_name=config.region,
                    aws_access_key_id=config.access_key_id,
                    aws_secret_access_key=config.secret_access_key,
                    config=settings,
                )
        except (BotoCoreError, ValueError) as error:  # ValueError: an address that is none
            _LOG.error("The S3 client could not be made: %s", error)
            raise StoreUnavailable(
                "The object store's address, region or credentials are not in a form that S3 knows. An address "
                "begins with http:// or https://. Check the settings, then try again."
            ) from error


def _is_failure(_: type[BaseException], error: BaseException) -> bool:
    """Whether the circuit breaker should count this: the server is away, failing or overloaded."""
    if isinstance(error, ClientError):
        status = _status(error)
        return (status >= 500 and status != 501) or status == 429
    return isinstance(error, _NO_ANSWER)


def _translate(error: BotoCoreError | ClientError, operation: str) -> Exception:
    """boto3's error in our words, which name no address; the original words go to the log."""
    if isinstance(error, ClientError):
        code = str(error.response.get("Error", {}).get("Code", ""))
        if code in _KINDS:
            retries = error.response.get("ResponseMetadata", {}).get("RetryAttempts", 0)
            return Refusal(_KINDS[code], retries > 0)
        if code in _MISSING:
            return ObjectNotFound("No object lies under that key.")
        _LOG.error("S3 %s failed: %s", operation, error)
        return _refused(code, _status(error))
    if isinstance(error, FlexibleChecksumError):
        _LOG.error("S3 %s: %s", operation, error)
        return CorruptObject("The object's bytes do not match the checksum that the store keeps of them.")
    _LOG.error("S3 %s failed: %s: %s", operation, type(error).__name__, error)
    if isinstance(error, NoCredentialsError | PartialCredentialsError):
        return StoreUnavailable("The object store needs an access key and a secret key. Configure both.")
    if isinstance(error, _NO_ANSWER):
        return StoreUnavailable("The object store does not answer. Try again later.")
    return StoreUnavailable("The object store could not be used. Check its settings, then try again.")


def _refused(code: str, status: int) -> StorageError:
    if code == "NoSuchBucket":
        return StoreUnavailable("The object store's bucket does not exist. Create it, or correct its name.")
    if code in _CREDENTIALS:
        return StoreUnavailable(
            "The object store refuses our credentials. Check access key, secret key, and that they may read, "
            "write, delete and list in the bucket."
        )
    if code == "RequestTimeTooSkewed":
        return StoreUnavailable(
            "The object store's clock and ours differ too much. Set this machine's clock."
        )
    if code in _REGION:
        return StoreUnavailable("The object store's bucket is in another region. Correct the region.")
    if code in _FULL:
        return StoreUnavailable("The object store is full. Add space, then try again.")
    if code == "BadDigest":
        return StoreUnavailable("Bytes were damaged on the way to the object store. Try again.")
    if code == "NotImplemented" or status == 501:
        return StoreUnavailable("The object store does not have an operation that we need.")
    if status >= 500 or status == 429:
        return StoreUnavailable("The object store is failing or overloaded. Try again later.")
    return StoreUnavailable("The object store refused a request. Check its settings, then try again.")


def _status(error: ClientError) -> int:
    return int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
