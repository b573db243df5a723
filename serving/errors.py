"""What can go wrong at the HTTP surface, and the one table that gives every error its HTTP answer.

Every error of the platform is picklable (all arguments are passed on positionally, see the design's section
1) and its message is a full sentence that a stranger may read.
"""

from __future__ import annotations

from dataclasses import dataclass

from encoders import errors as encoder_errors
from fusion import errors as fusion_errors
from search import errors as search_errors
from storage import errors as storage_errors

__all__ = [
    "ERROR_TABLE",
    "ApiError",
    "AttachmentRefused",
    "AuthenticationFailed",
    "BatchConflict",
    "BatchNotFound",
    "BodyTooLarge",
    "CircuitOpen",
    "ClientGone",
    "ContentRefused",
    "CrossOriginRefused",
    "EngineError",
    "EngineOverloaded",
    "EngineRefused",
    "EngineStalled",
    "EngineUnavailable",
    "ErrorAnswer",
    "HostRefused",
    "IngestJobConflict",
    "IngestJobNotFound",
    "InvalidRequest",
    "LimitExceeded",
    "MediaFetchFailed",
    "MediaKindMismatch",
    "MediaServerUnavailable",
    "ModelNotFound",
    "NotOffered",
    "PerceptionTimeout",
    "PermissionDenied",
    "QuotaExceeded",
    "RateLimited",
    "RequestTooSlow",
    "ResponseNotFound",
    "ServiceBusy",
    "ServiceUnavailable",
    "UnsupportedContentType",
    "answer_for",
]


class ApiError(Exception):
    """Base of the tree. ``param`` names the request field, ``code`` overrides the table's code."""

    def __init__(self, message: str, param: str | None = None, code: str | None = None) -> None:
        super().__init__(message, param, code)
        self.message = message
        self.param = param
        self.code = code

    def __str__(self) -> str:
        return self.message


class InvalidRequest(ApiError):
    """The request is not what the wire schema says."""


class LimitExceeded(InvalidRequest):
    """The request brings more than one of ``RequestLimits`` allows; the message names the limit."""


class MediaKindMismatch(InvalidRequest):
    """The bytes are of another kind than the content part says."""


class MediaFetchFailed(InvalidRequest):
    """A media URL may not be fetched, or its server did not deliver."""


class MediaServerUnavailable(MediaFetchFailed):
    """A media URL's server does not answer, is busy or has trouble; it may pass."""


class IngestJobNotFound(ApiError):
    """This tenant has no such ingest job."""


class IngestJobConflict(ApiError):
    """The ingest job is in another state than this needs."""


class UnsupportedContentType(InvalidRequest):
    """The body is of a media type this route does not read."""


class ModelNotFound(ApiError):
    """No such model is served for this task."""


class NotOffered(ApiError):
    """Part of OpenAI's API that this server does not offer; the message says why."""


class ContentRefused(InvalidRequest):
    """The tenant's moderation policy does not let this content through."""


class ResponseNotFound(ApiError):
    """This tenant has no such stored response."""


class BatchNotFound(ApiError):
    """This tenant has no such batch."""


class BatchConflict(ApiError):
    """The batch is in another state than this needs."""


class AuthenticationFailed(ApiError):
    """The request brings no API key, or one that is unknown, expired or revoked. All answer alike."""


class PermissionDenied(ApiError):
    """The API key is good, but not for this."""


class RateLimited(ApiError):
    """The tenant has used up what it may within some time. May be repeated after ``retry_after_seconds``; never,
    when that is ``None``: it is more than may be used at all.
    """

    def __init__(
        self,
        message: str,
        retry_after_seconds: int | None = None,
        param: str | None = None,
        code: str | None = None,
    ) -> None:
        super().__init__(message, param, code)
        self.args = (message, retry_after_seconds, param, code)
        self.retry_after_seconds = retry_after_seconds


class QuotaExceeded(RateLimited):
    """The tenant has used up what does not come back by itself, such as stored bytes."""


class RequestTooSlow(ApiError):
    """The client sends its request too slowly."""


class HostRefused(ApiError):
    """The request names a host that is not this server: how a rebound DNS name looks from inside."""


class CrossOriginRefused(ApiError):
    """A web page of another origin makes the browser send this request."""


class BodyTooLarge(ApiError):
    """The request body is over its limit."""


class ClientGone(ApiError):
    """The client closed the connection before the answer was ready; nobody reads the answer."""


class ServiceUnavailable(ApiError):
    """A deployment behind the gateway does not answer."""


class CircuitOpen(ServiceUnavailable):
    """A deployment has failed several times in a row and is not called for a moment."""


class ServiceBusy(ServiceUnavailable):
    """A deployment's queue is full."""


class PerceptionTimeout(ServiceUnavailable):
    """The encoders did not answer in time."""


class EngineError(ApiError):
    """Base of what the decoder's engine may raise."""


class EngineUnavailable(EngineError):
    """The engine is starting, restarting or gone; the request may be repeated."""


class EngineOverloaded(EngineError):
    """The engine's queue is full; try again shortly."""


class EngineStalled(EngineError):
    """The engine accepted the request but then sent nothing for too long."""


class EngineRefused(EngineError):
    """The engine answered with an error status."""


class AttachmentRefused(EngineError):
    """What the platform itself made for the engine is not what this decoder takes; nothing of it reached vLLM."""


@dataclass(frozen=True, slots=True)
class ErrorAnswer:
    """The HTTP answer to an error class: status, OpenAI error type and code, and when to try again.

    ``is_final``: the same request fails again however long one waits. OpenAI's clients, which repeat every 409, 429
    and 5xx, are told so.
    """

    status: int
    type: str
    code: str | None
    retry_after_seconds: int | None = None
    is_final: bool = False


_INVALID = "invalid_request_error"
_SERVER = "server_error"

ERROR_TABLE: dict[type[Exception], ErrorAnswer] = {
    # serving
    ApiError: ErrorAnswer(500, _SERVER, "internal_error"),
    InvalidRequest: ErrorAnswer(400, _INVALID, "invalid_value"),
    LimitExceeded: ErrorAnswer(400, _INVALID, "limit_exceeded"),
    MediaKindMismatch: ErrorAnswer(400, _INVALID, "media_kind_mismatch"),
    MediaFetchFailed: ErrorAnswer(400, _INVALID, "media_fetch_failed"),
    MediaServerUnavailable: ErrorAnswer(400, _INVALID, "media_fetch_failed"),
    IngestJobNotFound: ErrorAnswer(404, _INVALID, "ingest_job_not_found"),
    IngestJobConflict: ErrorAnswer(409, _INVALID, "ingest_job_conflict"),
    UnsupportedContentType: ErrorAnswer(415, _INVALID, "unsupported_content_type"),
    ModelNotFound: ErrorAnswer(404, _INVALID, "model_not_found"),
    NotOffered: ErrorAnswer(501, _SERVER, "not_offered", is_final=True),
    ContentRefused: ErrorAnswer(400, _INVALID, "content_policy_violation"),
    ResponseNotFound: ErrorAnswer(404, _INVALID, "response_not_found"),
    BatchNotFound: ErrorAnswer(404, _INVALID, "batch_not_found"),
    BatchConflict: ErrorAnswer(409, _INVALID, "batch_conflict", is_final=True),
    AuthenticationFailed: ErrorAnswer(401, _INVALID, "invalid_api_key"),
    PermissionDenied: ErrorAnswer(403, _INVALID, "insufficient_permissions"),
    RateLimited: ErrorAnswer(429, "rate_limit_error", "rate_limit_exceeded", 1),
    QuotaExceeded: ErrorAnswer(429, "insufficient_quota", "insufficient_quota", 60, is_final=True),
    RequestTooSlow: ErrorAnswer(408, _INVALID, "request_timeout"),
    HostRefused: ErrorAnswer(400, _INVALID, "host_not_allowed"),
    CrossOriginRefused: ErrorAnswer(403, _INVALID, "cross_origin_request"),
    BodyTooLarge: ErrorAnswer(413, _INVALID, "body_too_large"),
    ClientGone: ErrorAnswer(499, _INVALID, "client_closed_request"),
    ServiceUnavailable: ErrorAnswer(503, _SERVER, "service_unavailable", 2),
    ServiceBusy: ErrorAnswer(503, _SERVER, "service_overloaded", 3),
    CircuitOpen: ErrorAnswer(503, _SERVER, "service_unavailable", 3),
    PerceptionTimeout: ErrorAnswer(503, _SERVER, "perception_timeout", 10),
    EngineError: ErrorAnswer(502, _SERVER, "engine_error"),
    EngineUnavailable: ErrorAnswer(503, _SERVER, "engine_unavailable", 5),
    EngineOverloaded: ErrorAnswer(503, _SERVER, "engine_overloaded", 3),
    EngineStalled: ErrorAnswer(504, _SERVER, "engine_stalled", 5),
    EngineRefused: ErrorAnswer(502, _SERVER, "engine_error"),
    AttachmentRefused: ErrorAnswer(500, _SERVER, "attachment_refused"),
    # encoders
    encoder_errors.EncoderError: ErrorAnswer(500, _SERVER, "encoder_error"),
    encoder_errors.UnsupportedMedia: ErrorAnswer(400, _INVALID, "unsupported_media"),
    encoder_errors.CorruptMedia: ErrorAnswer(400, _INVALID, "corrupt_media"),
    encoder_errors.MediaTooLarge: ErrorAnswer(400, _INVALID, "media_too_large"),
    encoder_errors.DecodeTimeout: ErrorAnswer(400, _INVALID, "media_too_complex"),
    encoder_errors.EncoderOverloaded: ErrorAnswer(503, _SERVER, "encoders_overloaded", 3),
    encoder_errors.ModelUnavailable: ErrorAnswer(503, _SERVER, "model_unavailable", 30),
    # storage
    storage_errors.StorageError: ErrorAnswer(500, _SERVER, "storage_error"),
    storage_errors.InvalidKey: ErrorAnswer(400, _INVALID, "invalid_value"),
    storage_errors.ObjectTooLarge: ErrorAnswer(413, _INVALID, "media_too_large"),
    storage_errors.ObjectNotFound: ErrorAnswer(404, _INVALID, "not_found"),
    storage_errors.MediaNotFound: ErrorAnswer(404, _INVALID, "media_not_found"),
    storage_errors.CorruptObject: ErrorAnswer(500, _SERVER, "corrupt_object"),
    storage_errors.StoreUnavailable: ErrorAnswer(503, _SERVER, "store_unavailable", 5),
    storage_errors.LinkNotFound: ErrorAnswer(404, _INVALID, "link_not_found"),
    storage_errors.UploadNotFound: ErrorAnswer(404, _INVALID, "upload_not_found"),
    storage_errors.UploadClosed: ErrorAnswer(400, _INVALID, "upload_closed"),
    storage_errors.UploadMismatch: ErrorAnswer(400, _INVALID, "upload_mismatch"),
    # search
    search_errors.SearchError: ErrorAnswer(500, _SERVER, "search_error"),
    search_errors.CollectionNotFound: ErrorAnswer(404, _INVALID, "collection_not_found"),
    search_errors.CollectionExists: ErrorAnswer(409, _INVALID, "collection_exists", is_final=True),
    search_errors.AliasConflict: ErrorAnswer(409, _INVALID, "alias_conflict", is_final=True),
    search_errors.DocumentNotFound: ErrorAnswer(404, _INVALID, "document_not_found"),
    search_errors.ModelMismatch: ErrorAnswer(400, _INVALID, "model_mismatch"),
    search_errors.CorruptSegment: ErrorAnswer(500, _SERVER, "corrupt_segment"),
    search_errors.DimensionMismatch: ErrorAnswer(400, _INVALID, "dimension_mismatch"),
    search_errors.InvalidQuery: ErrorAnswer(400, _INVALID, "invalid_query"),
    search_errors.SearchUnavailable: ErrorAnswer(503, _SERVER, "search_unavailable", 2),
    search_errors.WritesPaused: ErrorAnswer(503, _SERVER, "search_unavailable", 2),
    # fusion
    fusion_errors.FusionError: ErrorAnswer(500, _SERVER, "fusion_error"),
    fusion_errors.PromptTooLong: ErrorAnswer(400, _INVALID, "context_length_exceeded"),
    fusion_errors.BridgeUnavailable: ErrorAnswer(503, _SERVER, "model_unavailable", 30),
    fusion_errors.BridgeMismatch: ErrorAnswer(500, _SERVER, "bridge_mismatch"),
    fusion_errors.ModalityNotBridged: ErrorAnswer(400, _INVALID, "unsupported_media"),
    fusion_errors.TrainingRefused: ErrorAnswer(400, _INVALID, "training_refused"),
    fusion_errors.VectorsCancel: ErrorAnswer(400, _INVALID, "invalid_value"),
}
"""Every error class of the platform with its answer. A test walks all subclasses and holds it complete."""


def answer_for(error: Exception) -> ErrorAnswer | None:
    """The table's answer for an error's class, or for its nearest base; ``None`` for errors not of the
    platform.
    """
    for cls in type(error).__mro__:
        answer = ERROR_TABLE.get(cls)
        if answer is not None:
            return answer
    return None
