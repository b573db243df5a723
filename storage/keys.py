"""Names of things in storage: object keys, tenants, and the keys of derived artifacts.

An artifact key answers "was exactly this work done before?". It is an HMAC-SHA256 under the platform's
secret, so a key shown in a log or a cache listing tells nothing about the bytes behind it.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import math
import re
from collections.abc import Mapping
from typing import Any

from storage.errors import InvalidKey

__all__ = ["MAX_KEY_BYTES", "artifact_key", "check_object_key", "check_object_prefix", "check_tenant"]

MAX_KEY_BYTES = 1024  # what S3 takes
# A file name everywhere, and never "." or "..".
_SEGMENT = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.=@+-]{0,199}")
_TENANT = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.@-]{0,127}")
_MIN_SECRET_BYTES = 16
_ENCODING_VERSION = 1  # part of every artifact key: raise it when the encoding below changes


def check_object_key(key: str) -> str:
    """Return ``key`` if every backend can hold it, else raise ``InvalidKey``.

    Keys are ``/``-separated segments of letters, digits and ``_ . = @ + -``, each starting with a letter, a
    digit or ``_`` and at most 200 characters long; in all at most 1024 bytes. That excludes traversal by
    construction.
    """
    if len(key) > MAX_KEY_BYTES or not all(_SEGMENT.fullmatch(segment) for segment in key.split("/")):
        raise InvalidKey(
            "An object key must be segments of letters, digits and _ . = @ + - joined by '/', "
            f"each of at most 200 characters and not starting with a dot, {MAX_KEY_BYTES} characters in all."
        )
    return key


def check_object_prefix(prefix: str) -> str:
    """Return ``prefix`` if it is empty or could start a valid key, else raise ``InvalidKey``."""
    if prefix:
        check_object_key(prefix.removesuffix("/"))
    return prefix


def check_tenant(tenant: str) -> str:
    """Return ``tenant`` if it can be one segment of a key, else raise ``InvalidKey``."""
    if not _TENANT.fullmatch(tenant):
        raise InvalidKey(
            "A tenant's name must be 1 to 128 letters, digits and _ . @ - and not start with one of . @ -."
        )
    return tenant


def artifact_key(
    secret: bytes,
    tenant: str,
    sha256: str,
    task: str,
    model: str,
    revision: str,
    preprocessing: str,
    params: Mapping[str, Any],
) -> str:
    """The key of one derived artifact: 64 hex digits, equal exactly when all arguments are equal.

    ``sha256`` is the source's content hash, ``model``, ``revision`` and ``preprocessing`` come from the
    model's ``SPEC``; ``params`` is everything else that changes the result, as JSON values (``None``, bool,
    int, finite float, str, lists or tuples, mappings with string keys). The order of mapping entries does
    not matter; ``1``, ``1.0`` and ``True`` are three different values.

    Raises ``ValueError`` for a secret under 16 bytes and ``TypeError``/``ValueError`` for values that have no
    unambiguous JSON form: a silently stringified value could make two different requests share a key.
    """
    if len(secret) < _MIN_SECRET_BYTES:
        raise ValueError(f"The cache secret must be at least {_MIN_SECRET_BYTES} bytes.")
    names = [tenant, sha256, task, model, revision, preprocessing]
    for name in names:
        if not isinstance(name, str):
            raise TypeError(f"Artifact key fields must be strings, not {type(name).__name__}.")
    message = json.dumps(
        [_ENCODING_VERSION, names, _plain(params)],
        sort_keys=True,
        ensure_ascii=True,
        allow_nan=False,
        separators=(",", ":"),
    )
    return hmac.new(secret, message.encode("ascii"), hashlib.sha256).hexdigest()


def _plain(value: Any) -> Any:
    """``value`` as JSON values only. JSON itself would merge the keys ``1`` and ``"1"``, so keys are
    checked.
    """
    match value:
        case None | bool():
            return value
        # exact base types: a subclass (an Enum, a NumPy float) is written as its base value
        case int():
            return int(value)
        case float():
            if not math.isfinite(value):
                raise ValueError("An artifact key's parameters must be finite numbers.")
            return float(value)
        case str():
            return str.__str__(value)
        case list() | tuple():
            return [_plain(item) for item in value]
        case Mapping():
            if not all(isinstance(name, str) for name in value):
                raise TypeError("An artifact key's parameter names must be strings.")
            return {str.__str__(name): _plain(item) for name, item in value.items()}
        case _:
            raise TypeError(f"An artifact key's parameters cannot hold a {type(value).__name__}.")
