"""The environment Ray, Ray Serve and vLLM are started with. Both read theirs at import, so it is set before."""

from __future__ import annotations

import os
from collections.abc import Mapping

from deploy.settings import Settings

__all__ = ["engine_environment", "ray_environment"]

_HAPROXY_MARGIN_SECONDS = 30  # a replica's own end comes first


def ray_environment(settings: Settings) -> dict[str, str]:
    """Variables for the process that starts Ray, and so for every process Ray starts.

    Why each is set is said beside it; what was measured stands in ``docs/adr/0003-ray-serve-wiring.md``.
    """
    return {
        # Replicas would run at nice 15 and lose against anything else on the machine.
        "RAY_worker_niceness": "0",
        "RAY_AUTH_MODE": "token",
        "RAY_USAGE_STATS_ENABLED": "0",
        # Replicas talk over gRPC streams and run user code in their main loop: half the processor time per
        # streamed chunk of Ray's default transport.
        "RAY_SERVE_THROUGHPUT_OPTIMIZED": "1",
        **_ingress_environment(settings),
        **_machines_environment(settings),
        # Ray's housekeeping takes a seventh of a core on an idle machine, a twentieth with these settings, and
        # vLLM's two threads wait for whichever core it runs on. Failures are still noticed within a second.
        "RAY_SERVE_CONTROL_LOOP_INTERVAL_S": "1.0",
        "RAY_SERVE_METRICS_EXPORT_INTERVAL_MS": "5000",
        "RAY_task_events_report_interval_ms": "0",
        "RAY_event_stats": "0",
        # Nobody reads worker logs through the driver: look for new files every half minute, not ten times a second.
        "RAY_LOG_MONITOR_MANY_FILES_THRESHOLD": "0",
        "LOG_NAME_UPDATE_INTERVAL_S": "30",
        "RAY_DASHBOARD_AGENT_CHECK_PARENT_INTERVAL_S": "3",
        "REPORTER_UPDATE_INTERVAL_MS": "30000",
        # Lance would print each race that maintenance loses, which is normal, to stderr, with paths.
        "LANCE_LOG": "error",
        # Models were prepared before; nothing is ever fetched while serving.
        "HF_HUB_OFFLINE": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "DO_NOT_TRACK": "1",
    }


def _ingress_environment(settings: Settings) -> dict[str, str]:
    """How requests reach the gateways. See ``deploy.pool_settings.Ingress``."""
    if settings.ingress == "proxy":
        return {"RAY_SERVE_ENABLE_DIRECT_INGRESS": "0"}  # which the throughput setting would turn on
    if settings.ingress == "haproxy":
        return {
            "RAY_SERVE_ENABLE_HA_PROXY": "1",
            # Whenever a gateway comes or goes another HAProxy takes over, and the one before ends with its last
            # stream: not after two minutes, Serve's default.
            "RAY_SERVE_HAPROXY_HARD_STOP_AFTER_S": str(settings.drain_seconds + _HAPROXY_MARGIN_SECONDS),
            # Long enough for every HAProxy to be told that a gateway leaves. Who asks it later is sent to another.
            "RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S": "5",
            # An HAProxy that died is started again after three missed checks: 35 s with Serve's period of 10.
            "RAY_SERVE_PROXY_HEALTH_CHECK_PERIOD_S": "3",
        }
    return {
        # The gateway replica listens on the API's port itself; no proxy in between.
        "RAY_SERVE_ENABLE_DIRECT_INGRESS": "1",
        "RAY_SERVE_DIRECT_INGRESS_MIN_HTTP_PORT": str(settings.port),
        "RAY_SERVE_DIRECT_INGRESS_MAX_HTTP_PORT": str(settings.port + 1),
        # A replaced gateway takes the same port again at once.
        "RAY_SERVE_PORT_QUARANTINE_S": "0",
        # There is no load balancer that must first notice a gateway leaving.
        "RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S": "0",
    }


def _machines_environment(settings: Settings) -> dict[str, str]:
    """How a machine that is lost is noticed, where there are several."""
    if settings.ray_address == "local":
        return {}
    return {
        # A machine is lost after five missed checks: in 5 s instead of 15 when nothing answers there any more. One
        # that is only slow has 10 s for each answer, as ever: it is given up after almost a minute.
        "RAY_health_check_period_ms": "1000",
    }


def engine_environment(settings: Settings, inherited: Mapping[str, str] | None = None) -> dict[str, str]:
    """Variables for the processes of a vLLM engine; vLLM's own, where set in ``inherited``, win over ours."""
    given = os.environ if inherited is None else inherited
    defaults = {
        "VLLM_CPU_KVCACHE_SPACE": str(settings.chat.kv_cache_gib),
        # Keeps the worker inside the engine core's process: half the processor time per token on two cores.
        "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
        "VLLM_NO_USAGE_STATS": "1",
        "VLLM_LOGGING_LEVEL": "WARNING",
    }
    return {
        # Ray would set 1 for an actor that reserves no processor, and a third of the tokens would be lost.
        "OMP_NUM_THREADS": str(settings.chat.threads or os.cpu_count() or 1),
        **{name: given.get(name, value) for name, value in defaults.items()},
    }
