"""Responses in the object store: ``responses/<tenant>/<id>.json``, with a checksum over key and content.

A record holds all that the model was given, so that one look-up is enough to go on with a conversation, however
long, and no deletion of an earlier answer tears a later one apart. Its age is in its id.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from serving.errors import ResponseNotFound
from serving.responses.ids import is_response_id, made_at_seconds
from storage.checked_json import from_checked_json, to_checked_json
from storage.errors import CorruptObject, ObjectNotFound
from storage.keys import check_tenant
from storage.objects import ObjectStore

__all__ = ["Item", "ResponseStore", "StoredResponse"]

_PREFIX = "responses/"
_VERSION = 1

Item: TypeAlias = dict[str, Any]
"""An item as it is shown and stored: its media are named by id."""


@dataclass(frozen=True, slots=True)
class StoredResponse:
    """``response`` as it is shown, and in ``input`` everything it was an answer to, earlier turns first."""

    tenant: str
    response: Mapping[str, Any]
    input: Sequence[Item]

    @property
    def id(self) -> str:
        """Its public id."""
        return str(self.response["id"])

    @property
    def conversation(self) -> list[Item]:
        """What a next turn begins with."""
        return [*self.input, *self.response["output"]]


class ResponseStore:
    """Stored responses over an ``ObjectStore``; everything blocks. ``clock`` gives seconds since the epoch.

    Ids of other tenants, unknown, malformed and expired ones raise ``ResponseNotFound`` alike.
    """

    def __init__(self, objects: ObjectStore, clock: Callable[[], float], retention_seconds: int) -> None:
        self._objects = objects
        self.clock = clock
        self.retention_seconds = retention_seconds

    def put(self, stored: StoredResponse) -> None:
        """Keep a response until its time is over."""
        key = _key(stored.tenant, stored.id)
        fields = {"version": _VERSION, "response": stored.response, "input": list(stored.input)}
        self._objects.put(key, to_checked_json(key, fields))

    def get(self, tenant: str, response_id: str) -> StoredResponse:
        """A stored response. Raises ``CorruptObject`` for a damaged one."""
        if not is_response_id(response_id) or self._is_expired(response_id):
            raise _not_found()
        key = _key(tenant, response_id)
        try:
            encoded = self._objects.get(key)
        except ObjectNotFound:
            raise _not_found() from None
        fields = from_checked_json(key, encoded)
        if fields is None or fields.get("version") != _VERSION:
            raise CorruptObject("The stored response is damaged. Begin the conversation anew.")
        return StoredResponse(tenant, fields["response"], fields["input"])

    def delete(self, tenant: str, response_id: str) -> None:
        """Forget a response, a damaged one too."""
        if not is_response_id(response_id) or self._is_expired(response_id):
            raise _not_found()
        key = _key(tenant, response_id)
        try:
            self._objects.head(key)
        except ObjectNotFound:
            raise _not_found() from None
        self._objects.delete(key)

    def sweep(self) -> int:
        """Remove what is past its time, of all tenants; how many went."""
        removed = 0
        for key in self._expired_keys():
            self._objects.delete(key)
            removed += 1
        return removed

    def _expired_keys(self) -> Iterator[str]:
        for info in self._objects.list(_PREFIX):
            response_id = info.key.rpartition("/")[2].removesuffix(".json")
            if is_response_id(response_id) and self._is_expired(response_id):
                yield info.key

    def _is_expired(self, response_id: str) -> bool:
        return made_at_seconds(response_id) + self.retention_seconds <= self.clock()


def _key(tenant: str, response_id: str) -> str:
    return f"{_PREFIX}{check_tenant(tenant)}/{response_id}.json"


def _not_found() -> ResponseNotFound:
    return ResponseNotFound("No such response: it was never stored, was deleted, or has expired.")
