"""Wire schema of ``/v1/batches``, OpenAI's."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StrictStr

from serving.batches.batches import BatchView
from serving.batches.records import Usage
from serving.protocol.files import ExpiresAfter
from serving.protocol.metadata import Metadata

__all__ = ["Batch", "BatchList", "CreateBatchRequest", "batch_object"]


class CreateBatchRequest(BaseModel):
    """A batch to create. Fields are OpenAI's."""

    model_config = ConfigDict(extra="forbid")
    input_file_id: Annotated[StrictStr, Field(max_length=128)]
    endpoint: Literal["/v1/chat/completions", "/v1/responses", "/v1/embeddings", "/v1/moderations"]
    completion_window: Literal["24h"]
    metadata: Metadata | None = None
    output_expires_after: ExpiresAfter | None = None


class BatchError(BaseModel):
    """Why a batch failed. ``line`` counts from 1."""

    code: str
    message: str
    param: str | None
    line: int | None


class BatchErrors(BaseModel):
    """All that is wrong with an input file, or the first hundred."""

    object: Literal["list"] = "list"
    data: list[BatchError]


class BatchRequestCounts(BaseModel):
    """Requests by how they ended. ``failed`` were answered with an error, or not at all."""

    total: int
    completed: int
    failed: int


class InputTokensDetails(BaseModel):
    """Tokens of prompts that were kept from before."""

    cached_tokens: int


class OutputTokensDetails(BaseModel):
    """Tokens of answers that are thoughts."""

    reasoning_tokens: int


class BatchUsage(BaseModel):
    """Tokens of all answers so far."""

    input_tokens: int
    input_tokens_details: InputTokensDetails
    output_tokens: int
    output_tokens_details: OutputTokensDetails
    total_tokens: int


class Batch(BaseModel):
    """A batch. Times are seconds since the epoch. What does not apply (yet) is left out."""

    id: str
    object: Literal["batch"] = "batch"
    endpoint: str
    model: str | None = None
    errors: BatchErrors | None = None
    input_file_id: str
    completion_window: Literal["24h"] = "24h"
    status: Literal[
        "validating", "failed", "in_progress", "finalizing", "completed", "expired", "cancelling", "cancelled"
    ]
    output_file_id: str | None = None
    error_file_id: str | None = None
    created_at: int
    in_progress_at: int | None = None
    expires_at: int
    finalizing_at: int | None = None
    completed_at: int | None = None
    failed_at: int | None = None
    expired_at: int | None = None
    cancelling_at: int | None = None
    cancelled_at: int | None = None
    request_counts: BatchRequestCounts
    usage: BatchUsage
    metadata: dict[str, str] | None = None


class BatchList(BaseModel):
    """One page of batches, newest first; ``last_id`` is the next page's ``after``."""

    object: Literal["list"] = "list"
    data: list[Batch]
    first_id: str | None = None
    last_id: str | None = None
    has_more: bool


def batch_object(view: BatchView) -> Batch:
    """A batch on the wire."""
    batch, state = view.batch, view.state
    problems = [
        BatchError(code=one.code, message=one.message, param=one.param, line=one.line)
        for one in state.problems
    ]
    answer = Batch(
        id=batch.id,
        endpoint=batch.endpoint,
        model=state.model,
        errors=BatchErrors(data=problems) if problems else None,
        input_file_id=batch.input_file_id,
        status=view.status,
        created_at=int(batch.created_at_seconds),
        in_progress_at=_whole(state.in_progress_at_seconds),
        expires_at=int(batch.expires_at_seconds),
        finalizing_at=_whole(state.finalizing_at_seconds),
        cancelling_at=_whole(view.cancelling_at_seconds),
        request_counts=BatchRequestCounts(total=state.total, completed=state.completed, failed=state.failed),
        usage=_usage(state.usage),
        metadata=None if batch.metadata is None else dict(batch.metadata),
    )
    if view.is_ended:  # before, the files cannot be looked up
        setattr(answer, f"{state.status}_at", _whole(state.ended_at_seconds))
        answer.output_file_id = None if state.output is None else state.output.id
        answer.error_file_id = None if state.errors is None else state.errors.id
    return answer


def _usage(usage: Usage) -> BatchUsage:
    return BatchUsage(
        input_tokens=usage.input_tokens,
        input_tokens_details=InputTokensDetails(cached_tokens=usage.cached_tokens),
        output_tokens=usage.output_tokens,
        output_tokens_details=OutputTokensDetails(reasoning_tokens=usage.reasoning_tokens),
        total_tokens=usage.input_tokens + usage.output_tokens,
    )


def _whole(seconds: float | None) -> int | None:
    return None if seconds is None else int(seconds)
