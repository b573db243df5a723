"""Content parts that bring a medium, through the door of media."""

from __future__ import annotations

from encoders.types import MediaKind
from serving.admission import Admission, AdmittedMedia
from serving.errors import InvalidRequest
from serving.protocol.chat import (
    AudioUrlPart,
    FilePart,
    ImagePart,
    InputAudioPart,
    MediaPart,
    VideoUrlPart,
)
from serving.refusals import ANY_KIND

__all__ = ["admit_part"]

_IMAGE, _AUDIO, _VIDEO = (frozenset({kind}) for kind in (MediaKind.IMAGE, MediaKind.AUDIO, MediaKind.VIDEO))


async def admit_part(
    admission: Admission, tenant: str, part: MediaPart, param: str, *, anew: bool
) -> AdmittedMedia:
    """The medium of one part. ``param`` is where the part stands in the request; for ``anew`` see
    ``Admission.use``.
    """
    match part:
        case ImagePart():
            return await admission.from_reference(
                tenant, part.image_url.url, _IMAGE, f"{param}.image_url.url", anew=anew
            )
        case InputAudioPart():
            return await admission.from_base64(
                tenant, part.input_audio.data, _AUDIO, f"{param}.input_audio.data", anew=anew
            )
        case AudioUrlPart():
            return await admission.from_reference(
                tenant, part.audio_url.url, _AUDIO, f"{param}.audio_url.url", anew=anew
            )
        case VideoUrlPart():
            return await admission.from_reference(
                tenant, part.video_url.url, _VIDEO, f"{param}.video_url.url", anew=anew
            )
        case FilePart():
            return await _admit_file(admission, tenant, part, f"{param}.file", anew=anew)


async def _admit_file(
    admission: Admission, tenant: str, part: FilePart, param: str, *, anew: bool
) -> AdmittedMedia:
    source = part.file
    if (source.file_id is None) == (source.file_data is None):
        raise InvalidRequest("A file part must have exactly one of 'file_id' and 'file_data'.", param)
    if source.file_id is not None:
        return await admission.from_id(tenant, source.file_id, ANY_KIND, f"{param}.file_id")
    data = source.file_data or ""
    if data[:5].lower() != "data:":
        raise InvalidRequest("'file_data' must be a data: URL.", f"{param}.file_data")
    return await admission.from_reference(
        tenant, data, ANY_KIND, f"{param}.file_data", source.filename, anew=anew
    )
