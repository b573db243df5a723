"""The resolved settings one by one, each with where its value came from."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import urlsplit, urlunsplit

from pydantic_settings import EnvSettingsSource

from deploy.profile_files import profile_values
from deploy.settings import Settings

__all__ = ["Origin", "Setting", "resolved_settings", "unknown_variables"]

Origin = Literal["option", "environment", "profile", "default"]

MASK = "********"

# Variables of ours that are no settings: the client's commands read them.
_CLIENT = frozenset({"MANYMODAL_URL", "MANYMODAL_API_KEY"})
_PREFIX = Settings.model_config["env_prefix"]
_BETWEEN = Settings.model_config["env_nested_delimiter"] or "__"


@dataclass(frozen=True, slots=True)
class Setting:
    """One value. ``source`` is the option, the variable or the profile that gave it, empty for a default.

    ``name`` has dots (``chat.context_tokens``); ``value`` is as in JSON, secrets are masked.
    """

    name: str
    value: Any
    origin: Origin
    source: str


def resolved_settings(settings: Settings, options: Mapping[str, Any]) -> tuple[Setting, ...]:
    """Every value of ``settings``, which were made of ``options``, this process's environment and the profile."""
    given: dict[Origin, Mapping[str, Any]] = {
        "option": {name: value for name, value in options.items() if value is not None},
        "environment": EnvSettingsSource(Settings)(),
        "profile": {**profile_values(settings.profile), "profile": settings.profile},
    }
    if "profile" not in given["option"] and "profile" not in given["environment"]:
        given["profile"] = {name: value for name, value in given["profile"].items() if name != "profile"}

    def setting(path: tuple[str, ...], value: Any) -> Setting:
        for origin, values in given.items():
            if _holds(values, path):
                return Setting(".".join(path), value, origin, _source(origin, path, settings.profile))
        return Setting(".".join(path), value, "default", "")

    values = _masked(settings.model_dump(mode="json"))
    return tuple(setting(path, value) for path, value in _leaves(values))


def unknown_variables(environment: Mapping[str, str] | None = None) -> tuple[str, ...]:
    """Variables that look like settings and are none: nothing reads them."""
    variables = os.environ if environment is None else environment
    return tuple(
        sorted(
            name
            for name in variables
            if name.upper().startswith(_PREFIX)
            and name.upper() not in _CLIENT
            and name.upper().removeprefix(_PREFIX).partition(_BETWEEN)[0].lower() not in Settings.model_fields
        )
    )


def _leaves(values: Mapping[str, Any], path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    for name, value in values.items():
        if isinstance(value, Mapping) and value:
            yield from _leaves(value, (*path, name))
        else:
            yield (*path, name), value


def _holds(values: Any, path: tuple[str, ...]) -> bool:
    """Whether a source says something of ``path``, or of all that it lies in."""
    for name in path:
        if not isinstance(values, Mapping):
            return True  # a value of another form, of which this is a part
        if name not in values:
            return False
        values = values[name]
    return True


def _source(origin: Origin, path: tuple[str, ...], profile: str) -> str:
    if origin == "option":
        return "--" + path[0].replace("_", "-")
    if origin == "profile":
        return f"{profile}.yaml"
    present = {name.upper(): name for name in os.environ}
    for length in range(len(path), 0, -1):  # a part may have come inside the JSON of the whole
        if (found := present.get(_PREFIX + _BETWEEN.join(path[:length]).upper())) is not None:
            return found
    raise AssertionError(f"no variable for {'.'.join(path)}, which the environment gave")


def _masked(value: Any) -> Any:
    """Without passwords in addresses. Secrets are masked by their type, of which pydantic's dump takes care."""
    if isinstance(value, Mapping):
        return {name: _masked(part) for name, part in value.items()}
    if isinstance(value, list):
        return [_masked(part) for part in value]
    if isinstance(value, str) and "://" in value and "@" in value:
        try:
            address = urlsplit(value)
        except ValueError:
            return MASK
        if address.username or address.password:
            return urlunsplit(address._replace(netloc=f"{MASK}@{address.netloc.rpartition('@')[2]}"))
    return value
