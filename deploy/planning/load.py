"""What is asked of the platform: the input of a plan, as YAML."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from deploy.errors import UnusablePlan
from deploy.planning.rates import Rate

__all__ = ["Load", "Storage", "preset_names", "read_load"]

Storage = Literal["float32", "int8", "binary", "pq"]
Amount = Annotated[float, Field(ge=0)]
Share = Annotated[float, Field(ge=0, le=1)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ByModality(_Section):
    """One number for each modality."""

    text: Amount = 0
    image: Amount = 0
    video: Amount = 0
    audio: Amount = 0


class ByRequest(ByModality):
    """One number for each kind of question; ``mixed`` has several media."""

    mixed: Amount = 0


class Items(_Section):
    """What becomes searchable: how many a day, kept for how long, in how many parts and bytes each.

    The defaults are 20 frames a video, 10 segments of 30 seconds a recording, and a kilobyte of text.
    """

    per_day: ByModality = ByModality()
    retention_days: Annotated[float, Field(gt=0)] = 365
    parts: ByModality = ByModality(text=1, image=1, video=20, audio=10)
    media_bytes: ByModality = ByModality(text=1e3, image=5e5, video=1e7, audio=2.5e6)
    row_bytes: Amount = 200


class CostRules(_Section):
    """What is not encoded or stored: pictures that are too small, what is there already; and the share of items
    that is worth full dimensions, the others getting ``reduced_dimensions`` in a collection of their own.
    """

    tiny_image_share: Share = 0
    duplicate_share: Share = 0
    full_dimensions_share: Share = 1
    reduced_dimensions: Annotated[int, Field(gt=0)] = 256


class Vectors(_Section):
    """Length of an embedding and how the index in memory holds it."""

    dimensions: Annotated[int, Field(gt=0)] = 512
    storage: Storage = "float32"
    flat_rows: Annotated[int, Field(ge=0)] = 100_000
    pq_rows: Annotated[int, Field(ge=0)] = 10_000_000


class Searches(_Section):
    """Searches, and the machines that answer them."""

    per_day: Amount = 0
    replicas: Annotated[int, Field(gt=0)] = 2
    cores_per_reader: Annotated[int, Field(gt=0)] = 8
    memory_per_reader_bytes: Annotated[float, Field(gt=0)] = 64e9


class Requests(_Section):
    """Questions a day, the pictures and clips of 30 seconds that each looks at, and how much is answered.

    At 45 tokens a second and stream, 3,480 requests a second of 400 tokens are 31,000 streams at once.
    """

    per_day: ByRequest = ByRequest()
    images: ByRequest = ByRequest(image=1, video=20, mixed=1)
    clips: ByRequest = ByRequest(video=1, audio=1, mixed=1)
    output_tokens: Amount = 400
    stream_tokens_per_second: Annotated[float, Field(gt=0)] = 45
    cache_hit_share: Share = 0.7


class Models(_Section):
    """Which model does what; their speeds are in ``rates.yaml`` or under ``rates``."""

    vision: str = "efficientnet-lite2"
    speech: str = "whisper-base"
    text: str = "all-minilm-l6-v2"
    chat: str = "smollm2-135m-instruct"
    gateway: str = "http"


class Prices(_Section):
    """US dollars. Assumptions of the size that clouds ask for without a contract, not anybody's offer."""

    gpu_hour: Amount = 2.0
    core_hour: Amount = 0.04
    memory_gb_month: Amount = 3.0
    object_gb_month: Amount = 0.023
    disk_gb_month: Amount = 0.08


class Load(_Section):
    """Everything a plan is made from. Anything left out has the default shown by ``manymodal plan --show-load``.

    ``peak_factor`` is the busiest second over the mean. Machines are planned to be used ``use_share`` at the peak;
    with ``autoscaled`` the cost is that of the mean load.
    """

    name: str = "load"
    items: Items = Items()
    cost_rules: CostRules = CostRules()
    vectors: Vectors = Vectors()
    searches: Searches = Searches()
    requests: Requests = Requests()
    models: Models = Models()
    rates: Mapping[str, Rate] = {}
    prices: Prices = Prices()
    peak_factor: Annotated[float, Field(ge=1)] = 3.0
    use_share: Annotated[float, Field(gt=0, le=1)] = 0.75
    autoscaled: bool = True


def preset_names() -> list[str]:
    """The loads that ship with the planner."""
    return sorted(
        entry.name.removesuffix(".yaml") for entry in _presets().iterdir() if entry.name.endswith(".yaml")
    )


def read_load(preset: str, file: Path | None, changes: Mapping[str, Any]) -> Load:
    """The load in ``file``, or without one the preset, with ``changes`` (dotted names) put over it.

    Raises ``UnusablePlan`` when there is no such preset, or the file cannot be read or holds something else.
    """
    if file is not None:
        try:
            text = file.read_text("utf-8")
        except (OSError, UnicodeDecodeError):
            raise UnusablePlan("The file given with --load cannot be read.") from None
    elif preset in preset_names():
        text = (_presets() / f"{preset}.yaml").read_text("utf-8")
    else:
        raise UnusablePlan(f"There is no preset {preset!r}. Choose one of: {', '.join(preset_names())}.")
    try:
        values = yaml.safe_load(text) or {}
    except yaml.YAMLError:
        raise UnusablePlan("The file given with --load is not YAML.") from None
    if not isinstance(values, dict):
        raise UnusablePlan("A load is a mapping of settings: see manymodal plan --show-load.")
    for dotted, value in changes.items():
        _put(values, dotted.split("."), value)
    try:
        return Load.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise UnusablePlan(f"The load's '{where}' cannot be used: {first['msg']}.") from None


def _put(values: dict[str, Any], names: list[str], value: Any) -> None:
    for name in names[:-1]:
        values = values.setdefault(name, {})
        if not isinstance(values, dict):
            raise UnusablePlan(f"The load's {name!r} must be a mapping.")
    values[names[-1]] = value


def _presets() -> Any:
    return resources.files("deploy.planning") / "presets"
