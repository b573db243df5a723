"""What can go wrong while the platform is put together."""

from __future__ import annotations

__all__ = [
    "AlreadyRunning",
    "DeployError",
    "NoApiKeys",
    "NotHere",
    "NotStopped",
    "NothingStored",
    "PlatformStartFailed",
    "PortTaken",
    "SpacesDiffer",
    "TourFailed",
    "UnusablePlan",
]


class DeployError(Exception):
    """Base of the tree. ``message`` says what happened and what to do."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class AlreadyRunning(DeployError):
    """A platform runs with this data folder, or is being started."""


class NoApiKeys(DeployError):
    """The API is to be reached from elsewhere, and nobody has a key to it."""


class NotHere(DeployError):
    """What these settings need is elsewhere: the platform on a cluster, or the cluster itself."""


class PortTaken(DeployError):
    """Another program listens on the API's port."""


class PlatformStartFailed(DeployError):
    """A deployment did not come up."""


class SpacesDiffer(DeployError):
    """The vision and the text model do not place things in one space."""


class NothingStored(DeployError):
    """There is no store where one was to be checked."""


class NotStopped(DeployError):
    """A platform that was told to stop still runs."""


class TourFailed(DeployError):
    """A step of the demo's tour did not give what it must."""


class UnusablePlan(DeployError):
    """A load that a plan was to be made for cannot be used."""
