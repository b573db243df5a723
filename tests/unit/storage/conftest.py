"""A local store and media on it; modules that need another clock or store have fixtures of their own."""

from __future__ import annotations

from pathlib import Path

import pytest

from storage.local import LocalObjectStore
from storage.media import MediaStore


@pytest.fixture
def store(tmp_path: Path) -> LocalObjectStore:
    return LocalObjectStore(tmp_path / "store")


@pytest.fixture
def media(store: LocalObjectStore) -> MediaStore:
    return MediaStore(store)
