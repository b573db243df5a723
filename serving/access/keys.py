"""API keys: their form, and the records by which the platform knows them.

A key is ``mm_<id>_<43 characters>``: 256 random bits in base64url. The store has their SHA-256 only, in a record
under ``access/keys/<id>.json`` that is sealed with an HMAC under the platform's secret: who can write into the
store can remove a key or bring back an older record of it, but can make none, nor give one more than it had. An id
carries a tag under the same secret, so made-up ids are told without asking the store. When a key was last used lies
beside it (``access/used/<id>``), so that noting it can never undo a revocation.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
import secrets
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, replace

from serving.identity import ALL_SCOPES, Scope
from storage.checked_json import from_checked_json, to_checked_json
from storage.errors import CorruptObject, ObjectNotFound
from storage.keys import check_tenant
from storage.objects import ObjectStore, any_under

__all__ = ["ApiKey", "KeyStore", "secret_digest", "split_key"]

_KEYS = "access/keys/"
_USED = "access/used/"
_KEY = re.compile(r"mm_([0-9a-f]{24})_([A-Za-z0-9_-]{43})")
_RANDOM_HEX, _TAG_HEX = 16, 8
_MAX_NAME = 128


@dataclass(frozen=True, slots=True)
class ApiKey:
    """What is known of a key; times are seconds since the epoch. ``secret_sha256`` is of its secret part."""

    id: str
    name: str
    tenant: str
    scopes: frozenset[Scope]
    secret_sha256: str
    created_at_seconds: int
    expires_at_seconds: int | None = None
    revoked_at_seconds: int | None = None

    def is_good(self, now_seconds: float) -> bool:
        """Whether it may be used at a time."""
        is_over = self.expires_at_seconds is not None and self.expires_at_seconds <= now_seconds
        return self.revoked_at_seconds is None and not is_over


class KeyStore:
    """Keys over an ``ObjectStore``; everything blocks. ``secret`` is the platform's, ``clock`` gives seconds since
    the epoch. All raise ``StoreUnavailable``.
    """

    def __init__(self, objects: ObjectStore, secret: bytes, clock: Callable[[], float] = time.time) -> None:
        self._objects = objects
        self._secret = hmac.digest(secret, b"manymodal api keys 1", "sha256")
        self.clock = clock

    def create(
        self, name: str, tenant: str, scopes: Iterable[Scope], expires_at_seconds: int | None = None
    ) -> tuple[ApiKey, str]:
        """A new key's record and the key itself, which nobody can be told again.

        Raises ``InvalidKey`` for a tenant's name that cannot be, ``ValueError`` for no or unknown scopes, a time
        that has passed, and a name that is too long or has characters that are not shown.
        """
        check_tenant(tenant)
        given = frozenset(scopes)
        if not given or not given <= ALL_SCOPES:
            raise ValueError(f"A key needs scopes out of: {', '.join(sorted(ALL_SCOPES))}.")
        if len(name) > _MAX_NAME or not (name.isprintable()):
            raise ValueError(f"A key's name has at most {_MAX_NAME} printable characters.")
        now = int(self.clock())
        if expires_at_seconds is not None and expires_at_seconds <= now:
            raise ValueError("The time at which the key ends has passed.")
        random_part = secrets.token_hex(_RANDOM_HEX // 2)
        key_id = random_part + self._tag(random_part)
        secret = base64.urlsafe_b64encode(secrets.token_bytes(32)).rstrip(b"=").decode()
        key = ApiKey(key_id, name, tenant, given, secret_digest(secret), now, expires_at_seconds)
        self._put(key)
        return key, f"mm_{key_id}_{secret}"

    def is_genuine(self, key_id: str) -> bool:
        """Whether an id was made under this platform's secret; the store is not asked."""
        return hmac.compare_digest(key_id[_RANDOM_HEX:], self._tag(key_id[:_RANDOM_HEX]))

    def get(self, key_id: str) -> ApiKey | None:
        """The record of an id, ``None`` when there is none. Raises ``CorruptObject`` for one that is damaged or was
        not written by us.
        """
        object_key = f"{_KEYS}{key_id}.json"
        try:
            fields = from_checked_json(object_key, self._objects.get(object_key))
        except ObjectNotFound:
            return None
        try:
            seal = fields.pop("seal") if fields else ""
            if fields is None or not hmac.compare_digest(str(seal), self._seal(fields)):
                raise ValueError
            key = ApiKey(**{**fields, "scopes": frozenset(fields["scopes"])})
        except (ValueError, KeyError, TypeError) as error:
            raise CorruptObject(f"The record of the API key {key_id} is damaged. Revoke the key.") from error
        if key.id != key_id:
            raise CorruptObject(f"The record of the API key {key_id} is damaged. Revoke the key.")
        return key

    def ids(self) -> list[str]:
        """The ids of all keys, also of damaged records."""
        names = (info.key.removeprefix(_KEYS) for info in self._objects.list(_KEYS))
        return [name.removesuffix(".json") for name in names if name.endswith(".json")]

    def any(self) -> bool:
        """Whether a key was ever made, revoked and damaged ones included."""
        return any_under(self._objects, _KEYS)

    def revoke(self, key_id: str, at_seconds: int | None = None) -> ApiKey | None:
        """End a key now, or let it end at a time; ``None`` when there is no such key. One that is damaged goes."""
        if not _KEY.fullmatch(f"mm_{key_id}_{'0' * 43}"):
            return None
        try:
            key = self.get(key_id)
        except CorruptObject:
            key = self._placeholder(key_id)
        if key is None or key.revoked_at_seconds is not None:
            return key
        if at_seconds is None:
            key = replace(key, revoked_at_seconds=int(self.clock()))
        elif key.expires_at_seconds is None or at_seconds < key.expires_at_seconds:
            key = replace(key, expires_at_seconds=at_seconds)
        self._put(key)
        return key

    def rotate(self, key_id: str, overlap_seconds: int = 0) -> tuple[ApiKey, str] | None:
        """A new key that may do what an old one may; the old ends after ``overlap_seconds``. ``None`` when there
        is no such key or it may not be used any more.
        """
        old = self.get(key_id) if _KEY.fullmatch(f"mm_{key_id}_{'0' * 43}") else None
        if old is None or not old.is_good(self.clock()):
            return None
        made = self.create(old.name, old.tenant, old.scopes, old.expires_at_seconds)
        self.revoke(key_id, int(self.clock()) + overlap_seconds if overlap_seconds > 0 else None)
        return made

    def note_use(self, key_id: str) -> None:
        """Remember that a key is used now."""
        self._objects.put(_USED + key_id, str(int(self.clock())).encode())

    def last_used_seconds(self, key_id: str) -> int | None:
        """When a key was last used, to some minutes; ``None`` when it was not."""
        try:
            return int(self._objects.get(_USED + key_id))
        except (ObjectNotFound, ValueError):
            return None

    def _put(self, key: ApiKey) -> None:
        fields = {**asdict(key), "scopes": sorted(key.scopes)}
        object_key = f"{_KEYS}{key.id}.json"
        self._objects.put(object_key, to_checked_json(object_key, {**fields, "seal": self._seal(fields)}))

    def _placeholder(self, key_id: str) -> ApiKey:
        """A record that lets nobody in: that a key was made must stay known."""
        return ApiKey(key_id, "damaged", "default", frozenset(), "", int(self.clock()))

    def _seal(self, fields: object) -> str:
        message = json.dumps(fields, sort_keys=True).encode()
        return hmac.digest(self._secret, b"record" + message, "sha256").hex()

    def _tag(self, random_part: str) -> str:
        return hmac.digest(self._secret, b"id" + random_part.encode(), "sha256").hex()[:_TAG_HEX]


def split_key(text: str) -> tuple[str, str] | None:
    """Id and secret part of a key; ``None`` for what is none."""
    found = _KEY.fullmatch(text)
    return None if found is None else (found[1], found[2])


def secret_digest(secret: str) -> str:
    """What is kept of a key's secret part: SHA-256, as hex. Nothing slower is needed for 256 random bits."""
    return hashlib.sha256(secret.encode()).hexdigest()
