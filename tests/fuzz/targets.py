"""All fuzz targets by name."""

from __future__ import annotations

from collections.abc import Mapping

from fuzz.media_targets import MEDIA_TARGETS
from fuzz.network_targets import NETWORK_TARGETS
from fuzz.request_targets import REQUEST_TARGETS
from fuzz.target import Target

__all__ = ["TARGETS"]

TARGETS: Mapping[str, Target] = {
    target.name: target for target in (*MEDIA_TARGETS, *REQUEST_TARGETS, *NETWORK_TARGETS)
}
