"""What settings of a platform on several machines must say: what its processes share, and how long it drains."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from deploy.settings import Settings

__all__ = ["check_several_machines"]


def check_several_machines(settings: Settings) -> None:
    """Raise ``ValueError``, naming all that is missing, where Ray's machines are joined and settings are for one.

    A platform that starts Ray itself has one machine, and may do without all of this.
    """
    gateways = settings.deployments["gateway"]
    if settings.ingress == "direct" and gateways.most_replicas > 1 and settings.ray_address == "local":
        raise ValueError(
            "several gateways on one machine need something in front of them: set ingress to haproxy"
        )
    if settings.ingress == "direct" and gateways.surge_percent:
        raise ValueError(
            "deployments.gateway.surge_percent: with ingress direct a new gateway can only listen when the old one "
            "has ended; set it to 0"
        )
    if settings.ray_address == "local":
        return
    missing = []
    if settings.storage.s3 is None:
        missing.append("MANYMODAL_STORAGE__S3__BUCKET (media and collections are on no machine's own disk)")
    if settings.storage.redis_url is None:
        missing.append("MANYMODAL_STORAGE__REDIS_URL (gateways share what was computed)")
    if settings.secret is None:
        missing.append("MANYMODAL_SECRET (all gateways must key caches and sign links alike)")
    if missing:
        raise ValueError(f"several machines (ray_address {settings.ray_address}) need {'; '.join(missing)}")
    if settings.chat.side_channel:
        raise ValueError(
            "chat.side_channel is a socket on one machine; with several machines "
            f"(ray_address {settings.ray_address}) set it to false"
        )
    longest_seconds = settings.limits.answer_timeout_seconds
    if settings.drain_seconds <= longest_seconds:
        raise ValueError(
            f"drain_seconds ({settings.drain_seconds}) must be more than limits.answer_timeout_seconds "
            f"({longest_seconds:g}), or replicas that are replaced would break off running answers"
        )
