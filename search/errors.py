"""What can go wrong in search."""

from __future__ import annotations

__all__ = [
    "AliasConflict",
    "CollectionExists",
    "CollectionNotFound",
    "CorruptSegment",
    "DimensionMismatch",
    "DocumentNotFound",
    "InvalidQuery",
    "ModelMismatch",
    "SearchError",
    "SearchUnavailable",
    "WritesPaused",
]


class SearchError(Exception):
    """Base of the tree. ``message`` is a full sentence for the caller."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class CollectionNotFound(SearchError):
    """This tenant has no collection or alias of that name."""


class CollectionExists(SearchError):
    """There is a collection of that name already, made with other settings."""


class AliasConflict(SearchError):
    """The name is a collection's and cannot be an alias, or the other way round."""


class DocumentNotFound(SearchError):
    """The collection has no document of that id."""


class DimensionMismatch(SearchError):
    """A vector's length differs from the collection's."""


class ModelMismatch(SearchError):
    """A vector was made by another model than the collection's space is of."""


class InvalidQuery(SearchError):
    """A filter, name, number or version in the query cannot be used."""


class CorruptSegment(SearchError):
    """A saved segment does not match its hash or cannot be read; it is built again from the table."""


class SearchUnavailable(SearchError):
    """The table cannot be read or written right now."""


class WritesPaused(SearchUnavailable):
    """Writes are refused for a moment, while documents are moved to the collection that comes after this one."""
