"""The decoder process, ``python -m encoders.decode_worker``: started by ``encoders.sandbox``, not imported.

Reads jobs from stdin, answers on stdout, one at a time. Before the first job it gives up every means it does
not need: it cannot open a file or a socket, write a file or dump core, has a bounded memory, gets a
processor-time allowance per job, and dies with its parent.
"""

from __future__ import annotations

import ctypes
import importlib
import io
import json
import os
import pkgutil
import resource
import signal
import struct
import sys
from dataclasses import asdict
from typing import Any, BinaryIO

import av
import numpy as np
from PIL import Image, ImageOps

from encoders.config import DecodeLimits
from encoders.decoding.audio import decode_audio
from encoders.decoding.image import decode_image
from encoders.decoding.probe import probe
from encoders.decoding.sniff import Sniffed, sniff
from encoders.decoding.video import sample_frames
from encoders.decoding.wire import read_message, write_message
from encoders.errors import CorruptMedia, EncoderError, MediaTooLarge, UnsupportedMedia
from encoders.types import FrameSampling

__all__ = ["main"]

_PR_SET_PDEATHSIG = 1
_MAX_INPUT_BYTES = 1 << 32
# Address space that is reserved but never filled (allocator arenas, thread stacks, libraries).
_RESERVED_BYTES = 2 << 30


def main() -> None:
    """Serve jobs until stdin ends. Arguments: the parent's process id and the limits as JSON."""
    parent, limits = int(sys.argv[1]), DecodeLimits(**json.loads(sys.argv[2]))
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        return  # it died before the line above
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent decides
    jobs, answers = os.fdopen(0, "rb", closefd=False), os.fdopen(os.dup(1), "wb")
    _warm_up()
    silent = os.open(os.devnull, os.O_RDWR)
    os.dup2(silent, 1)  # a library that prints must not break the protocol
    os.dup2(silent, 2)
    os.close(silent)
    _give_up_rights(limits, highest_descriptor=answers.fileno())
    write_message(answers, {"ready": True})
    while _serve_one(jobs, answers, limits):
        pass


def _warm_up() -> None:
    """Run the image path once: what is imported lazily must be imported before files are out of reach."""
    for name in ("PNG", "JPEG", "GIF", "WEBP", "TIFF", "BMP"):
        buffer = io.BytesIO()
        Image.new("RGB", (8, 8)).save(buffer, name)
        decode_image(buffer.getvalue(), Sniffed("image", name, ""), DecodeLimits(), 4)
    ImageOps.exif_transpose(Image.new("RGBA", (8, 8)))
    for module in pkgutil.walk_packages(av.__path__, "av."):
        if module.name not in ("av.__main__", "av.datasets"):
            importlib.import_module(module.name)
    wave = struct.pack(
        "<4sI4s4sIHHIIHH4sI", b"RIFF", 1636, b"WAVE", b"fmt ", 16, 1, 1, 8000, 16000, 2, 16, b"data", 1600
    )
    decode_audio(wave + bytes(1600), Sniffed("stream", "wav", ""), DecodeLimits())


def _give_up_rights(limits: DecodeLimits, highest_descriptor: int) -> None:
    """Set the hard limits. They can never be raised again."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_DATA, (limits.max_memory_bytes, limits.max_memory_bytes))
    address_space = limits.max_memory_bytes + _RESERVED_BYTES
    resource.setrlimit(resource.RLIMIT_AS, (address_space, address_space))
    # All descriptors in use are below: none is left for opening anything.
    resource.setrlimit(resource.RLIMIT_NOFILE, (highest_descriptor + 1, highest_descriptor + 1))


def _serve_one(jobs: BinaryIO, answers: BinaryIO, limits: DecodeLimits) -> bool:
    """Read, decode, answer. False when this process should end: at the end of input or out of memory."""
    try:
        job, data = read_message(jobs, _MAX_INPUT_BYTES)
    except EOFError:
        return False
    except MemoryError:
        write_message(answers, {"begun": True})
        _answer_error(answers, _out_of_memory(limits))
        return False
    write_message(answers, {"begun": True})
    used = resource.getrusage(resource.RUSAGE_SELF)
    allowed = int(used.ru_utime + used.ru_stime) + 1 + limits.max_cpu_seconds
    resource.setrlimit(resource.RLIMIT_CPU, (allowed, resource.RLIM_INFINITY))
    try:
        header, arrays = _decode(job, bytes(data), limits)
        write_message(answers, header, *(memoryview(array).cast("B") for array in arrays))
    except EncoderError as error:
        _answer_error(answers, error)
    except MemoryError:
        _answer_error(answers, _out_of_memory(limits))
        return False  # libraries rarely survive this in one piece
    except BrokenPipeError:
        return False
    except Exception:  # decoders raise anything over hostile bytes; none of their words go out
        _answer_error(answers, CorruptMedia("The medium is damaged or incomplete and cannot be decoded."))
    return True


def _answer_error(answers: BinaryIO, error: EncoderError) -> None:
    write_message(answers, {"error": type(error).__name__, "message": error.message})


def _out_of_memory(limits: DecodeLimits) -> MediaTooLarge:
    return MediaTooLarge(
        f"Decoding this medium needs more than the {limits.max_memory_bytes >> 20} MiB of memory allowed."
    )


def _decode(job: dict[str, Any], data: bytes, limits: DecodeLimits) -> tuple[dict[str, Any], list[Any]]:
    """Do one job: the answer's header and the arrays that follow it."""
    task = job["task"]
    if task == "probe":
        return {"info": asdict(probe(data, limits))}, []
    sniffed = sniff(data)
    wanted = "image" if task == "image" else "stream"
    if sniffed.decoder != wanted:
        raise UnsupportedMedia(
            f"The bytes are {sniffed.subtype.removeprefix('x-').upper()}, which holds "
            f"{'a still picture' if sniffed.decoder == 'image' else 'sound or video'}; "
            f"{'a still picture' if wanted == 'image' else 'sound or video'} is needed here."
        )
    if task == "image":
        pixels, width, height = decode_image(data, sniffed, limits, job["max_side"])
        return {"width": width, "height": height, "shape": pixels.shape}, [np.ascontiguousarray(pixels)]
    if task == "audio":
        samples = decode_audio(data, sniffed, limits)
        return {"samples": len(samples)}, [samples] if len(samples) else []
    if task == "frames":
        sampling = FrameSampling(job["method"], job["max_frames"])
        seconds, frames = sample_frames(data, sniffed, limits, sampling)
        facts = [
            {"time": one.time_seconds, "reason": one.reason, "shape": one.pixels.shape} for one in frames
        ]
        return {"seconds": seconds, "frames": facts}, [one.pixels for one in frames]
    raise ValueError(task)


if __name__ == "__main__":
    main()
