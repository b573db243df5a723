"""What Ray Serve imports on a cluster: ``import_path: deploy.ray_entry:application``, settings as ``args``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from deploy.settings import load_settings

if TYPE_CHECKING:
    from ray.serve import Application

__all__ = ["application"]


def application(given: dict[str, Any]) -> Application:
    """The application of ``given`` settings, in the form of ``load_settings``, over the environment.

    Secrets belong into the environment: Ray shows ``args`` to whoever sees its dashboard. Raises ``ValueError`` for
    settings that cannot be used.
    """
    from deploy.app import build_application

    return build_application(load_settings(given))
