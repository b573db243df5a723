"""What was perceived comes back from storage exactly."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as st_numpy

from encoders.types import (
    EncodedFrame,
    EncodedImage,
    EncodedVideo,
    ImageLabel,
    MediaInfo,
    MediaKind,
    TextLine,
    Transcript,
    TranscriptSegment,
    TranscriptWord,
)
from serving.artifact_codec import decode_artifact, encode_artifact

numbers = st.floats(allow_nan=False)
texts = st.text(st.characters(exclude_categories=["Cs"]))
vectors = st_numpy.arrays(np.float32, 384, elements=st.floats(width=32, allow_nan=False))
labels = st.lists(st.builds(ImageLabel, texts, numbers), max_size=3).map(tuple)
frames = st.builds(EncodedFrame, numbers, texts, labels, vectors)
words = st.builds(TranscriptWord, numbers, numbers, texts, numbers)
segments = st.builds(
    TranscriptSegment,
    *[numbers, numbers, texts, numbers, numbers, numbers, numbers],
    st.lists(st.integers(0, 60_000), max_size=3).map(tuple),
    st.lists(words, max_size=3).map(tuple),
)


@given(st.builds(EncodedImage, labels, vectors, st.integers(1, 9999), st.integers(1, 9999)))
def test_images(image):
    back = decode_artifact(encode_artifact(image), EncodedImage)
    assert (back.labels, back.width, back.height) == (image.labels, image.width, image.height)
    assert back.embedding.dtype == np.float32
    assert back.embedding.tobytes() == image.embedding.tobytes()
    assert back.embedding.flags.writeable


@given(st.builds(EncodedVideo, numbers, st.lists(frames, max_size=2).map(tuple)))
def test_videos(video):
    back = decode_artifact(encode_artifact(video), EncodedVideo)
    assert back.duration_seconds == video.duration_seconds
    for mine, theirs in zip(back.frames, video.frames, strict=True):
        assert (mine.time_seconds, mine.reason, mine.labels) == (
            theirs.time_seconds,
            theirs.reason,
            theirs.labels,
        )
        assert mine.embedding.tobytes() == theirs.embedding.tobytes()


@given(st.builds(Transcript, texts, numbers, st.lists(segments, max_size=3).map(tuple)))
def test_transcripts(transcript):
    assert decode_artifact(encode_artifact(transcript), Transcript) == transcript


def test_text_lines_and_facts():
    lines = (TextLine("EXIT", 0.9, ((0.0, 0.0), (1.0, 0.0), (1.0, 1.0), (0.0, 1.0))),)
    assert decode_artifact(encode_artifact(lines), tuple[TextLine, ...]) == lines
    info = MediaInfo(MediaKind.VIDEO, "video/mp4", 1, 2, 3.5, 25.0, True)
    assert decode_artifact(encode_artifact(info), MediaInfo) == info


def test_other_bytes_are_refused():
    image = EncodedImage((), np.zeros(3, np.float32), 1, 1)
    with pytest.raises(msgspec.MsgspecError):
        decode_artifact(encode_artifact(image), Transcript)
    with pytest.raises(msgspec.MsgspecError):
        decode_artifact(b"\x80\x04pickle", EncodedImage)


@pytest.mark.parametrize(
    "embedding",
    [
        b"odd",
        ["<f4", [3], bytes(8)],
        [">f4", [2], bytes(8)],
        ["|O", [1], bytes(8)],
        ["<f4", [2], bytes(8), 1],
        ["<f4", [2]],
        None,
    ],
)
def test_inconsistent_arrays_are_refused(embedding):
    broken = msgspec.msgpack.encode({"labels": [], "embedding": embedding, "width": 1, "height": 1})
    with pytest.raises(msgspec.MsgspecError):
        decode_artifact(broken, EncodedImage)


@pytest.mark.parametrize("dtype", ["<f2", "<f4", ">f4", "<f8", "|i1", "|u1"])
@pytest.mark.parametrize("shape", [(), (0,), (5,), (2, 3)])
def test_dtype_and_shape_come_back(dtype, shape):
    array = np.arange(np.prod(shape, dtype=int)).reshape(shape).astype(dtype)
    back = decode_artifact(encode_artifact(EncodedImage((), array, 1, 1)), EncodedImage).embedding
    assert (back.dtype, back.shape) == (np.dtype(dtype).newbyteorder("<"), shape)
    assert np.array_equal(back, array)
