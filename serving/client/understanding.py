"""``/v1/video/analyze`` and ``/v1/audio/transcribe``: one question about one medium."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from openai.types.chat import ChatCompletionChunk

from serving.client.answers import AudioUnderstanding, VideoAnalysis
from serving.client.calls import AsyncResource, SyncResource, call, streamed
from serving.client.requests import Request, Upload

__all__ = ["AsyncAudio", "AsyncVideo", "Audio", "Video"]

_ID = re.compile(r"file-[0-9a-f]{32}")


class VideoCalls:
    """Questions about videos. ``video`` is an id, an ``http(s)://`` or ``data:`` URL; a file is a ``Path``, bytes,
    an open file, or a name and one of these.
    """

    @call(VideoAnalysis, "POST /video/analyze")
    def analyze(
        self,
        video: Upload,
        prompt: str | None = None,
        *,
        frame_sampling: str | None = None,
        max_frames: int | None = None,
        model: str | None = None,
        max_tokens: int | None = None,
        temperature: float | None = None,
        seed: int | None = None,
    ) -> Request:
        """An answer about a video. ``frame_sampling``: ``uniform``, ``keyframes``, ``scene``; up to 128 frames."""
        fields = {"frame_sampling": frame_sampling, "max_frames": max_frames, "model": model, "seed": seed}
        limits = {"max_tokens": max_tokens, "temperature": temperature}
        return _about("video", video, {"prompt": prompt, **fields, **limits})

    @streamed(ChatCompletionChunk, "POST /video/analyze")
    def stream(
        self,
        video: Upload,
        prompt: str | None = None,
        *,
        frame_sampling: str | None = None,
        max_frames: int | None = None,
        model: str | None = None,
        max_tokens: int | None = None,
        temperature: float | None = None,
        seed: int | None = None,
    ) -> Request:
        """The same in chunks of chat's; the one with ``finish_reason`` has ``manymodal``."""
        fields = {"frame_sampling": frame_sampling, "max_frames": max_frames, "model": model, "seed": seed}
        limits = {"max_tokens": max_tokens, "temperature": temperature}
        return _about("video", video, {"prompt": prompt, "stream": True, **fields, **limits})


class AudioCalls:
    """Questions about recordings. ``audio`` is given as ``VideoCalls`` takes a video. For a bare transcript in
    OpenAI's forms: ``openai.audio.transcriptions``.
    """

    @call(AudioUnderstanding, "POST /audio/transcribe")
    def transcribe(
        self,
        audio: Upload,
        prompt: str | None = None,
        *,
        language: str | None = None,
        include_timestamps: bool | None = None,
        model: str | None = None,
        max_tokens: int | None = None,
        temperature: float | None = None,
        seed: int | None = None,
    ) -> Request:
        """What is said, and with ``prompt`` what the chat model makes of it."""
        fields = {
            "language": language,
            "include_timestamps": include_timestamps,
            "model": model,
            "seed": seed,
        }
        limits = {"max_tokens": max_tokens, "temperature": temperature}
        return _about("audio", audio, {"prompt": prompt, **fields, **limits})

    @call(str, "POST /audio/transcribe")
    def transcribe_text(
        self,
        audio: Upload,
        *,
        format: str = "text",  # noqa: A002 - its name in the API
        language: str | None = None,
        include_timestamps: bool | None = None,
    ) -> Request:
        """What is said as ``text`` (with timestamps a line for each passage) or as subtitles (``srt``)."""
        fields = {"format": format, "language": language, "include_timestamps": include_timestamps}
        return _about("audio", audio, fields)

    @streamed(ChatCompletionChunk, "POST /audio/transcribe")
    def stream(
        self,
        audio: Upload,
        prompt: str,
        *,
        language: str | None = None,
        model: str | None = None,
        max_tokens: int | None = None,
        temperature: float | None = None,
        seed: int | None = None,
    ) -> Request:
        """What the chat model makes of what is said, in chunks of chat's."""
        fields = {"language": language, "model": model, "seed": seed}
        limits = {"max_tokens": max_tokens, "temperature": temperature}
        return _about("audio", audio, {"prompt": prompt, "stream": True, **fields, **limits})


def _about(kind: str, medium: Upload, fields: Mapping[str, Any]) -> Request:
    if isinstance(medium, str):
        name = "file_id" if _ID.fullmatch(medium) else f"{kind}_url"
        return Request(body={name: medium, **fields})
    return Request(body=fields, files={f"{kind}_file": medium})


class Video(VideoCalls, SyncResource):
    """``client.video``."""


class AsyncVideo(VideoCalls, AsyncResource):
    """``client.video``, to be awaited."""


class Audio(AudioCalls, SyncResource):
    """``client.audio``."""


class AsyncAudio(AudioCalls, AsyncResource):
    """``client.audio``, to be awaited."""
