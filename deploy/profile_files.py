"""The profiles' files."""

from __future__ import annotations

from importlib import resources
from typing import Any

import yaml

__all__ = ["profile_names", "profile_values"]


def profile_names() -> list[str]:
    """The profiles that can be chosen."""
    return sorted(
        entry.name.removesuffix(".yaml") for entry in _profiles().iterdir() if entry.name.endswith(".yaml")
    )


def profile_values(name: str) -> dict[str, Any]:
    """What a profile's file says. Raises ``ValueError`` for one that there is not."""
    if name not in profile_names():
        raise ValueError(f"There is no profile named {name!r}. Choose one of: {', '.join(profile_names())}.")
    values = yaml.safe_load((_profiles() / f"{name}.yaml").read_text("utf-8"))
    if not isinstance(values, dict):
        raise ValueError(f"The profile {name!r} is not a mapping of settings.")
    return values


def _profiles() -> Any:
    return resources.files("deploy") / "profiles"
