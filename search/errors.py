"""What can go wrong in search."""

from __future__ import annotations

__all__ = ["CollectionNotFound", "DimensionMismatch", "InvalidQuery", "SearchError", "SearchUnavailable"]


class SearchError(Exception):
    """Base of the tree. ``message`` is a full sentence for the caller."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class CollectionNotFound(SearchError):
    """This tenant has no collection of that name."""


class DimensionMismatch(SearchError):
    """A vector's length differs from the collection's."""


class InvalidQuery(SearchError):
    """A filter, name, number or version in the query cannot be used."""


class SearchUnavailable(SearchError):
    """The table cannot be read or written right now."""
