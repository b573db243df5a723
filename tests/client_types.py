"""What mypy knows of our client (`make types` reads this): the same calls answer here and are awaited there."""

from __future__ import annotations

from pathlib import Path
from typing import assert_type

import openai
from openai.types.chat import ChatCompletionChunk

from serving.client import (
    AsyncManymodal,
    Document,
    Hit,
    IngestJob,
    Manymodal,
    Medium,
    SearchAnswer,
    VideoAnalysis,
)
from serving.client.sending import AsyncPages, Pages

__all__ = ["asynchronous", "synchronous"]


def synchronous(client: Manymodal) -> None:
    """Answers."""
    assert_type(client.media.put(Path("a.jpg")), Medium)
    assert_type(client.media.content("file-1"), bytes)
    assert_type(client.search("cat", top_k=3), SearchAnswer)
    assert_type(client.search.each("cat"), Pages[Hit])
    assert_type(client.search.raw("cat"), openai.APIResponse[SearchAnswer])
    assert_type([one.id for one in client.documents.list("c")], list[str])
    assert_type(client.ingest.wait("ingest_1", timeout_seconds=1), IngestJob)
    assert_type(client.video.analyze("file-1"), VideoAnalysis)
    assert_type(client.video.stream("file-1"), openai.Stream[ChatCompletionChunk])
    client.media.put(3)  # type: ignore[arg-type]  # must be refused
    client.search("cat", top=3)  # type: ignore[call-arg]  # must be refused


async def asynchronous(client: AsyncManymodal) -> None:
    """The same, awaited."""
    assert_type(await client.media.put(Path("a.jpg")), Medium)
    assert_type(await client.media.content("file-1"), bytes)
    assert_type(await client.search("cat", top_k=3), SearchAnswer)
    assert_type(client.search.each("cat"), AsyncPages[Hit])
    assert_type(await client.search.raw("cat"), openai.AsyncAPIResponse[SearchAnswer])
    assert_type(client.documents.list("c"), AsyncPages[Document])
    assert_type(await client.ingest.wait("ingest_1", timeout_seconds=1), IngestJob)
    assert_type(await client.video.analyze("file-1"), VideoAnalysis)
    assert_type(await client.video.stream("file-1"), openai.AsyncStream[ChatCompletionChunk])
    await client.media.put(3)  # type: ignore[arg-type]  # must be refused
