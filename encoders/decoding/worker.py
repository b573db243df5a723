"""The decoder process, ``python -m encoders.decoding.worker``: started by ``sandbox``, not imported.

Receives jobs from the socket that is its stdin, answers on stdout, one at a time. Before the first job it gives
up every means it does not need: it cannot open a file or a socket, write a file or dump core, has a bounded
memory, gets a processor-time allowance per job, and dies with its parent.

Media are decoded behind a filter of system calls, and with ``process_per_medium`` by children, each forked for one
medium: what takes over a child has the medium that it was sent, and ends with it.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import importlib
import io
import json
import os
import pkgutil
import resource
import signal
import socket
import struct
import sys
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any, BinaryIO

import av
import numpy as np
from PIL import Image

from encoders.config import DecodeLimits
from encoders.decoding.animation import animated_frames, is_animated
from encoders.decoding.audio import decode_audio
from encoders.decoding.image import decode_image
from encoders.decoding.probe import probe
from encoders.decoding.sniff import Sniffed, sniff_file
from encoders.decoding.source import open_source
from encoders.decoding.system_calls import SystemCallFilter, filters_are_there
from encoders.decoding.video import sample_frames
from encoders.decoding.wire import receive_job, send_ended, write_message
from encoders.errors import CorruptMedia, EncoderError, MediaTooLarge, UnsupportedMedia
from encoders.types import FrameSampling, MediaKind, SamplingMethod, VideoSummary

__all__ = ["main"]

_PR_SET_PDEATHSIG = 1
# Address space that is reserved but never filled (allocator arenas, thread stacks, libraries).
_RESERVED_BYTES = 2 << 30


def main() -> None:
    """Serve jobs until there are no more. Arguments: the parent's process id and the limits as JSON."""
    parent, limits = int(sys.argv[1]), DecodeLimits(**json.loads(sys.argv[2]))
    if not _dies_with(parent):
        return
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent decides
    jobs, answers = socket.socket(fileno=0), os.fdopen(os.dup(1), "wb")
    _warm_up()
    calls = SystemCallFilter() if filters_are_there() else None
    silent = os.open(os.devnull, os.O_RDWR)
    os.dup2(silent, 1)  # a library that prints must not break the protocol
    os.dup2(silent, 2)
    os.close(silent)
    _give_up_rights(limits, highest_descriptor=answers.fileno())
    if calls is not None and not limits.process_per_medium:
        calls.close_behind()
    gc.freeze()  # pages that no collection in a child writes to stay shared with it
    write_message(answers, {"ready": True, "filtered": calls is not None})
    while _serve_one(jobs, answers, limits, calls):
        pass


def _dies_with(parent: int) -> bool:
    """Have the kernel end this process with its parent; False if that has died already."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    return os.getppid() == parent


def _warm_up() -> None:
    """Run everything once: what is imported lazily must be imported before files are out of reach."""
    limits = DecodeLimits()
    for name in ("PNG", "JPEG", "GIF", "WEBP", "TIFF", "BMP", "AVIF"):
        buffer = io.BytesIO()
        Image.new("RGB", (8, 8)).save(buffer, name)
        decode_image(buffer, Sniffed("image", name, ""), limits, 4)
    for module in pkgutil.walk_packages(av.__path__, "av."):
        if module.name not in ("av.__main__", "av.datasets"):
            importlib.import_module(module.name)
    wave = struct.pack(
        "<4sI4s4sIHHIIHH4sI", b"RIFF", 1636, b"WAVE", b"fmt ", 16, 1, 1, 8000, 16000, 2, 16, b"data", 1600
    )
    list(decode_audio(io.BytesIO(wave + bytes(1600)), Sniffed("stream", "wav", ""), limits))
    buffer = io.BytesIO()
    pictures = [Image.new("L", (64, 64), grey) for grey in range(0, 240, 40)]
    pictures[0].save(buffer, "GIF", save_all=True, append_images=pictures[1:], duration=200)
    for method in SamplingMethod:
        list(animated_frames(buffer, Sniffed("image", "GIF", "gif"), limits, FrameSampling(method)))


def _give_up_rights(limits: DecodeLimits, highest_descriptor: int) -> None:
    """Set the hard limits. They can never be raised again."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_DATA, (limits.max_memory_bytes, limits.max_memory_bytes))
    address_space = limits.max_memory_bytes + _RESERVED_BYTES
    resource.setrlimit(resource.RLIMIT_AS, (address_space, address_space))
    # All descriptors in use are below: one is left, for the medium of the job. While that is open none is.
    slots = highest_descriptor + 2
    resource.setrlimit(resource.RLIMIT_NOFILE, (slots, slots))


@contextlib.contextmanager
def _no_descriptors() -> Iterator[None]:
    """Nothing can be opened inside, not even in the place of something that was closed."""
    slots = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, slots[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, slots)


def _serve_one(
    jobs: socket.socket, answers: BinaryIO, limits: DecodeLimits, calls: SystemCallFilter | None
) -> bool:
    """Receive, decode, answer. False when this process should end: at the end of jobs or out of memory."""
    try:
        job, medium = receive_job(jobs)
    except EOFError:
        return False
    if medium is None:  # a job is cancelled that has ended already
        return "cancel" in job
    try:
        if limits.process_per_medium:
            return _in_a_child(jobs, answers, limits, calls, job, medium)
        return _answered(jobs, answers, limits, job, medium)
    finally:
        os.close(medium)


def _in_a_child(
    jobs: socket.socket,
    answers: BinaryIO,
    limits: DecodeLimits,
    calls: SystemCallFilter | None,
    job: dict[str, Any],
    medium: int,
) -> bool:
    """Have a child answer, and tell when it has ended: no job is sent that it could still take. One that is killed
    takes this process with it, in the same way: nobody can say how much of its answer it has written.
    """
    parent = os.getpid()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            if _dies_with(parent):
                if calls is not None:
                    calls.close_behind()
                _answered(jobs, answers, limits, job, medium)
                code = 0
        finally:
            os._exit(code)  # nothing of the parent's is tidied up here
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        os.kill(parent, os.WTERMSIG(status))
    if status != 0:
        return False
    try:
        send_ended(jobs)
    except OSError:  # there will be no more jobs
        return False
    return True


def _answered(
    jobs: socket.socket, answers: BinaryIO, limits: DecodeLimits, job: dict[str, Any], medium: int
) -> bool:
    """Do a job. False when this process should do no other."""
    write_message(answers, {"begun": True})
    used = resource.getrusage(resource.RUSAGE_SELF)
    allowed = int(used.ru_utime + used.ru_stime) + 1 + limits.max_cpu_seconds
    resource.setrlimit(resource.RLIMIT_CPU, (allowed, resource.RLIM_INFINITY))
    try:
        with _no_descriptors(), open_source(medium) as file:
            for header, arrays in _decode(job, file, limits):
                if header.get("more") and _is_cancelled(jobs):
                    write_message(answers, {"cancelled": True})
                    break
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


def _is_cancelled(jobs: socket.socket) -> bool:
    """Whether anything waits on the socket: while a job runs that can only be its cancellation."""
    try:
        jobs.recv(1, socket.MSG_DONTWAIT | socket.MSG_PEEK)
    except BlockingIOError:
        return False
    return True


def _answer_error(answers: BinaryIO, error: EncoderError) -> None:
    write_message(answers, {"error": type(error).__name__, "message": error.message})


def _out_of_memory(limits: DecodeLimits) -> MediaTooLarge:
    return MediaTooLarge(
        f"Decoding this medium needs more than the {limits.max_memory_bytes >> 20} MiB of memory allowed."
    )


def _decode(
    job: dict[str, Any], file: BinaryIO, limits: DecodeLimits
) -> Iterator[tuple[dict[str, Any], list[Any]]]:
    """Do one job: the messages of its answer, each a header and the arrays that follow it. The last has no
    ``more`` in its header.
    """
    task = job["task"]
    if task == "probe":
        yield {"info": asdict(probe(file, limits))}, []
        return
    if task == "look":
        info = asdict(probe(file, limits))
        if info["kind"] != MediaKind.IMAGE:
            yield {"info": info}, []
            return
        pixels, info["width"], info["height"] = decode_image(file, sniff_file(file), limits, job["max_side"])
        yield {"info": info, "shape": pixels.shape}, [np.ascontiguousarray(pixels)]
        return
    sniffed = sniff_file(file)
    wanted = "image" if task == "image" else "stream"
    if sniffed.decoder != wanted and not (task == "frames" and is_animated(file, sniffed)):
        raise UnsupportedMedia(
            f"The bytes are {sniffed.subtype.removeprefix('x-').upper()}, which holds "
            f"{'a still picture' if sniffed.decoder == 'image' else 'sound or video'}; "
            f"{'a still picture' if wanted == 'image' else 'sound or video'} is needed here."
        )
    if task == "image":
        pixels, width, height = decode_image(file, sniffed, limits, job["max_side"])
        yield {"width": width, "height": height, "shape": pixels.shape}, [np.ascontiguousarray(pixels)]
    elif task == "audio":
        for piece in decode_audio(file, sniffed, limits):
            yield {"more": True}, [piece]
        yield {}, []
    elif task == "frames":
        sample = animated_frames if sniffed.decoder == "image" else sample_frames
        for one in sample(file, sniffed, limits, FrameSampling(**job["sampling"])):
            if isinstance(one, VideoSummary):
                summary: dict[str, Any] = {
                    "seconds": one.duration_seconds,
                    "near_duplicates": one.near_duplicates,
                    "repeats": one.repeat_times_seconds,
                    "scene_changes": one.scene_changes_seconds,
                }
                yield summary, []
            else:
                header = {"more": True, "time": one.time_seconds, "reason": one.reason}
                yield header | {"shape": one.pixels.shape}, [one.pixels]
    else:
        raise ValueError(task)


if __name__ == "__main__":
    main()
