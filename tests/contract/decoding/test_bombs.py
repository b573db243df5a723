"""Small files that become huge: refused by their headers, or ended by the limits, within two seconds of work."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable

import av
import numpy as np
import pytest

from encoders.config import DecodeLimits
from encoders.decoding.sandbox import MediaDecoder
from encoders.errors import CorruptMedia, EncoderError, MediaTooLarge, UnsupportedMedia

LIMITS = DecodeLimits(max_cpu_seconds=1)  # and one more that the kernel grants: two in all
REFUSED = (MediaTooLarge, CorruptMedia, UnsupportedMedia)


@pytest.fixture
def decoder(make_decoder: Callable[..., MediaDecoder]) -> MediaDecoder:
    return make_decoder(LIMITS)


def chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def png(side: int, claimed: int | None = None, *extra: bytes) -> bytes:
    """A black picture of one bit a pixel, ``side`` squared; its header may claim another side."""
    header = struct.pack(">IIBBBBB", claimed or side, claimed or side, 1, 0, 0, 0, 0)
    packer = zlib.compressobj(9)
    row = b"\0" + bytes((side + 7) // 8)
    data = b"".join(packer.compress(row * 100) for _ in range(side // 100)) + packer.flush()
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + b"".join(extra)
        + chunk(b"IDAT", data)
        + chunk(b"IEND", b"")
    )


def silence(seconds: int, rate: int, channels: str) -> bytes:
    """FLAC, which packs silence a thousandfold and more."""
    file = io.BytesIO()
    with av.open(file, "w", format="flac") as out:
        stream = out.add_stream("flac", rate=rate, layout=channels)
        count = 8 if channels == "7.1" else 2
        samples = np.zeros((1, 60 * rate * count), np.int16)
        for _ in range(seconds // 60):
            frame = av.AudioFrame.from_ndarray(samples, format="s16", layout=channels)
            frame.sample_rate = rate
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    return file.getvalue()


async def test_a_picture_of_400_megapixels(decoder: MediaDecoder) -> None:
    bomb = png(20_000)
    assert len(bomb) < 60_000
    for task in (decoder.probe, decoder.image):
        with pytest.raises(MediaTooLarge, match="pixels"):
            await task(bomb)


async def test_a_header_that_says_less_than_there_is_is_not_believed(decoder: MediaDecoder) -> None:
    picture = await decoder.image(png(20_000, claimed=64))  # the rest is never unpacked
    assert picture.pixels.shape == (64, 64, 3)


async def test_megabytes_of_text_in_a_picture(decoder: MediaDecoder) -> None:
    text = chunk(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(200 << 20), 9))
    with pytest.raises(EncoderError) as caught:
        await decoder.image(png(100, None, text))
    assert isinstance(caught.value, REFUSED)


async def test_sound_of_690_megabytes(decoder: MediaDecoder) -> None:
    bomb = silence(3600, 48_000, "stereo")  # 690 MB as 16-bit samples
    assert len(bomb) < 2_000_000
    for task in (decoder.probe, decoder.audio):
        with pytest.raises(MediaTooLarge, match="seconds"):
            await task(bomb)


@pytest.mark.parametrize(
    "text",
    [
        b"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nfile:///etc/passwd\n#EXT-X-ENDLIST\n",
        b'<?xml version="1.0"?><MPD><BaseURL>file:///etc/passwd</BaseURL></MPD>',
        b"ffconcat version 1.0\nfile /etc/passwd\n",
        b"v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nm=video 9 RTP/AVP 96\n",
        b'<svg xmlns="http://www.w3.org/2000/svg"><image href="file:///etc/passwd"/></svg>',
        b"%!PS-Adobe-3.0 EPSF-3.0\n(/etc/passwd) (r) file\n",
        b"subfile,,start,0,end,0,,:/etc/passwd",
        b"push graphic-context\nimage over 0,0 0,0 'file:///etc/passwd'\n",
    ],
    ids=["hls", "dash", "concat", "sdp", "svg", "eps", "subfile", "mvg"],
)
async def test_texts_that_name_other_files(decoder: MediaDecoder, text: bytes) -> None:
    for task in (decoder.probe, decoder.image, decoder.audio):
        with pytest.raises((UnsupportedMedia, CorruptMedia)) as caught:
            await task(text)
        assert "passwd" not in str(caught.value)
