"""Where tables and records lie: below a folder of this machine, or in a bucket of an S3 server.

Tables: ``<root>/<tenant>/<collection>.lance``, or ``s3://<bucket>/<prefix>collections/<tenant>/<collection>.lance``.
Records (aliases, saved segments) are objects under ``search/``, locally of a store in ``<root>/.objects``.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from search.config import SearchConfig
from search.errors import InvalidQuery, SearchUnavailable
from storage.config import S3Config
from storage.errors import StorageError
from storage.local import LocalObjectStore
from storage.objects import ObjectStore

__all__ = ["SearchLocation", "TableLocation", "checked_name"]

_SUFFIX = ".lance"
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.@-]{0,127}")
_RECORDS_FOLDER = ".objects"
_CACHE_FOLDER = ".cache"


@dataclass(frozen=True, slots=True)
class TableLocation:
    """One collection's table: whose and which it is, and how Lance is to be told where it lies.

    ``options`` hold the S3 server's keys: they are in no ``repr``.
    """

    tenant: str
    name: str
    uri: str
    options: Mapping[str, str] | None = field(default=None, repr=False)
    _bucket: _Bucket | None = field(default=None, repr=False, compare=False)

    @classmethod
    def local(cls, path: Path) -> TableLocation:
        """A table in a folder ``<tenant>/<name>.lance`` of this machine."""
        return cls(path.parent.name, path.name.removesuffix(_SUFFIX), str(path))

    def exists(self) -> bool:
        """Whether a table was ever committed there. What a crash left of a creation is none."""
        if self._bucket is not None:
            return self._bucket.any_manifest(f"{self.tenant}/{self.name}{_SUFFIX}")
        versions = Path(self.uri) / "_versions"
        try:
            return versions.is_dir() and any(versions.glob("*.manifest"))
        except OSError as error:
            raise SearchUnavailable("The folder of the search collections cannot be read.") from error

    def prepare(self) -> None:
        """Make the folder that a table is to be made in."""
        if self._bucket is None:
            try:
                Path(self.uri).parent.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise SearchUnavailable("The folder for search collections cannot be made.") from error


class SearchLocation:
    """Everything that lies somewhere. Threads may share it. Asking makes nothing, not even a folder.

    Raises ``SearchUnavailable`` when the root folder cannot be used.
    """

    def __init__(self, config: SearchConfig) -> None:
        self._root = config.root
        self._bucket = None if config.s3 is None else _Bucket(config.s3)
        self._records: ObjectStore | None = None
        self._lock = threading.Lock()
        try:
            config.root.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            raise SearchUnavailable("The folder for search collections cannot be made.") from error

    @property
    def cache_folder(self) -> Path:
        """Where this machine's copies of saved segments lie; may be deleted at any time."""
        return self._root / _CACHE_FOLDER

    @property
    def records(self) -> ObjectStore:
        """The store of aliases and saved segments, made when it is first needed."""
        with self._lock:
            if self._records is None:
                try:
                    self._records = self._open_records()
                except StorageError as error:
                    raise SearchUnavailable(error.message) from error
            return self._records

    @property
    def has_records(self) -> bool:
        """Whether there may be any record: a local store is made by the first one."""
        return self._bucket is not None or (self._root / _RECORDS_FOLDER).is_dir()

    def table(self, tenant: str, name: str) -> TableLocation:
        """Where a collection's table lies or would lie. Raises ``InvalidQuery`` for names that cannot be."""
        checked_name(tenant, "tenant")
        checked_name(name, "collection")
        if self._bucket is None:
            return TableLocation(tenant, name, str(self._root / tenant / f"{name}{_SUFFIX}"))
        uri = self._bucket.uri(f"{tenant}/{name}{_SUFFIX}")
        return TableLocation(tenant, name, uri, self._bucket.lance_options, self._bucket)

    def tenants(self) -> tuple[str, ...]:
        """Who has, or had, collections, by name."""
        return tuple(name for name in self._folders("") if _NAME.fullmatch(name))

    def tables(self, tenant: str) -> tuple[TableLocation, ...]:
        """A tenant's tables, by name, dropped collections' leftovers included."""
        checked_name(tenant, "tenant")
        names = [name.removesuffix(_SUFFIX) for name in self._folders(f"{tenant}/") if name.endswith(_SUFFIX)]
        return tuple(self.table(tenant, name) for name in names if _NAME.fullmatch(name))

    def check(self) -> None:
        """Raise ``SearchUnavailable`` when the tables cannot be reached."""
        if self._bucket is None and not self._root.is_dir():  # below it, what is missing was never made
            raise SearchUnavailable("The folder of the search collections is gone.")
        self._folders("", at_most_one_page=True)

    def _folders(self, below: str, at_most_one_page: bool = False) -> list[str]:
        if self._bucket is not None:
            return self._bucket.folders(below, at_most_one_page)
        try:
            return sorted(entry.name for entry in (self._root / below).iterdir() if entry.is_dir())
        except FileNotFoundError:
            return []
        except OSError as error:
            raise SearchUnavailable("The folder of the search collections cannot be read.") from error

    def _open_records(self) -> ObjectStore:
        if self._bucket is None:
            return LocalObjectStore(self._root / _RECORDS_FOLDER)
        from storage.s3.store import S3ObjectStore  # boto3 takes a third of a second to import

        return S3ObjectStore(self._bucket.config)


class _Bucket:
    """The tables' part of a bucket: names of folders by listing, and what Lance must know."""

    def __init__(self, config: S3Config) -> None:
        from storage.s3.connection import S3Connection

        self.config = config
        self._prefix = (f"{folder}/" if (folder := config.prefix.strip("/")) else "") + "collections/"
        self._connection = S3Connection(config, recovery_seconds=5.0)
        self.lance_options = _lance_options(config)

    def uri(self, path: str) -> str:
        return f"s3://{self.config.bucket}/{self._prefix}{path}"

    def folders(self, below: str, at_most_one_page: bool) -> list[str]:
        prefix = self._prefix + below
        found: list[str] = []
        more: dict[str, Any] = {}
        while True:
            page = self._list(Prefix=prefix, Delimiter="/", **more)
            found += [
                entry["Prefix"].removeprefix(prefix).rstrip("/") for entry in page.get("CommonPrefixes", [])
            ]
            if at_most_one_page or not page.get("IsTruncated"):
                return sorted(found)
            more = {"ContinuationToken": page["NextContinuationToken"]}

    def any_manifest(self, table: str) -> bool:
        page = self._list(Prefix=f"{self._prefix}{table}/_versions/", MaxKeys=8)
        return any(entry["Key"].endswith(".manifest") for entry in page.get("Contents", []))

    def _list(self, **parameters: Any) -> dict[str, Any]:
        try:
            return self._connection.call("list_objects_v2", **parameters)
        except StorageError as error:
            raise SearchUnavailable(error.message) from error


def checked_name(name: str, what: str) -> str:
    """A tenant's, collection's or alias's name, or ``InvalidQuery``."""
    if not _NAME.fullmatch(name):
        raise InvalidQuery(
            f"A {what}'s name must be 1 to 128 letters, digits and _ . @ - and not start with one of . @ -."
        )
    return name


def _lance_options(config: S3Config) -> dict[str, str]:
    """Lance's options for the server. Without keys Lance asks AWS's own chain of credentials, as boto3 does."""
    timeout_seconds = config.connect_timeout_seconds
    options = {
        "aws_region": config.region,
        "aws_virtual_hosted_style_request": str(not config.path_style).lower(),
        "aws_conditional_put": "etag",
        "connect_timeout": f"{timeout_seconds:g}s",
        "request_timeout": "30s",
        "client_max_retries": str(config.max_attempts),
    }
    if config.endpoint_url is not None:
        options["aws_endpoint"] = config.endpoint_url
        options["allow_http"] = str(config.endpoint_url.startswith("http://")).lower()
    if config.access_key_id is not None and config.secret_access_key is not None:
        options["aws_access_key_id"] = config.access_key_id
        options["aws_secret_access_key"] = config.secret_access_key
    return options
