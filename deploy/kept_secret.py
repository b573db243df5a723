"""The secret of a platform that was given none: made once, and kept in its data folder."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

__all__ = ["kept_secret"]


def kept_secret(data_dir: Path) -> bytes:
    """Its 32 bytes. Raises ``ValueError`` when the file is damaged."""
    path = data_dir / "secret"
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        value = path.read_bytes()
        if len(value) != 32:
            raise ValueError(
                "The file 'secret' in the data folder is damaged: it must hold 32 bytes."
            ) from None
        return value
    with os.fdopen(descriptor, "wb") as file:
        value = secrets.token_bytes(32)
        file.write(value)
        file.flush()
        os.fsync(file.fileno())
    return value
