"""Streams of the encoders over Ray's handles: parts as they come, failures by their names, nothing left running."""

from __future__ import annotations

import asyncio
from contextlib import aclosing

import pytest
from fake_ray import FakeHandle, FakeStream, exceptions, serve_exceptions

from encoders.errors import CorruptMedia
from encoders.types import TranscribeOptions, TranscriptBegun
from serving.errors import ServiceUnavailable
from serving.ray_adapter import RayPerception
from storage.types import MediaRef

MEDIA = MediaRef("file-1", "t", "ab" * 32, 3, "audio/wav")
BEGUN = TranscriptBegun("en", 5.0)


def parts_of(*items, timeout_seconds=30.0):
    stream = FakeStream(list(items))
    perception = RayPerception({"perception": FakeHandle(stream)}, timeout_seconds)
    return perception.transcript_parts(MEDIA, TranscribeOptions()), stream


async def test_parts_pass_through():
    parts, stream = parts_of(BEGUN, "segment")
    assert [part async for part in parts] == [BEGUN, "segment"]
    assert not stream.cancelled


@pytest.mark.parametrize(
    ("raised", "kind"),
    [
        (exceptions.RayTaskError("m", "trace", CorruptMedia("Damaged.")).as_instanceof_cause(), CorruptMedia),
        (exceptions.RayActorError(), ServiceUnavailable),
        (
            serve_exceptions.BackPressureError(num_queued_requests=1, max_queued_requests=1),
            ServiceUnavailable,
        ),
        (asyncio.CancelledError(), ServiceUnavailable),
    ],
)
async def test_failures_have_their_names(raised, kind):
    parts, _ = parts_of(BEGUN, raised)
    assert await anext(parts) == BEGUN
    with pytest.raises(kind):
        await anext(parts)


async def test_a_silent_service_is_too_slow_and_who_leaves_cancels():
    parts, stream = parts_of(BEGUN, ..., timeout_seconds=0.05)
    assert await anext(parts) == BEGUN
    with pytest.raises(ServiceUnavailable):
        await anext(parts)
    assert stream.cancelled
    parts, stream = parts_of(BEGUN, BEGUN)
    async with aclosing(parts):
        await anext(parts)
    assert stream.cancelled
