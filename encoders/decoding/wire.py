"""Between the service and its decoder process: jobs with a file attached one way, framed answers the other, and
word of which process has ended, which the kernel vouches for.

A job is one datagram of JSON on a Unix socket, its medium an open file sent along. An answer is a
length-framed JSON header and raw bytes on a pipe, which bounds how far the decoder can run ahead.
No pickle: what comes back from the decoder has seen hostile bytes and is not to be believed.
"""

from __future__ import annotations

import json
import os
import socket
import struct
from typing import Any, BinaryIO

__all__ = [
    "ProtocolError",
    "learn_senders",
    "read_message",
    "receive_ended",
    "receive_job",
    "send_ended",
    "send_job",
    "write_message",
]

_LENGTHS = struct.Struct("<IQ")
_MAX_HEADER_BYTES = 1 << 20
_MAX_JOB_BYTES = 1 << 16
_CREDENTIALS = struct.Struct("3i")  # struct ucred: process, user, group
_ENDED = b"ended"


class ProtocolError(Exception):
    """The other side does not speak as agreed."""


def send_job(channel: socket.socket, job: dict[str, Any], descriptor: int | None = None) -> None:
    """Send one job, with the medium's descriptor. Raises ``OSError`` when the other side is gone."""
    socket.send_fds(channel, [json.dumps(job).encode()], [] if descriptor is None else [descriptor])


def receive_job(channel: socket.socket) -> tuple[dict[str, Any], int | None]:
    """Wait for a job and the descriptor that came with it. Raises ``EOFError`` when there will be none."""
    data, descriptors, _, _ = socket.recv_fds(channel, _MAX_JOB_BYTES, 1)
    if not data:
        for descriptor in descriptors:
            os.close(descriptor)
        raise EOFError
    return json.loads(data), descriptors[0] if descriptors else None


def learn_senders(channel: socket.socket) -> None:
    """From here on the kernel says of every message on ``channel`` which process sent it (unix(7), SO_PASSCRED)."""
    channel.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)


def send_ended(channel: socket.socket) -> None:
    """Tell, against the direction of jobs, that the child which did the last job has ended. Raises ``OSError``."""
    channel.send(_ENDED)


def receive_ended(channel: socket.socket, sender: int) -> bool:
    """Whether process ``sender``, and no other, says that the child has ended. Does not wait."""
    try:
        data, about, _, _ = channel.recvmsg(
            len(_ENDED) + 1,
            socket.CMSG_SPACE(_CREDENTIALS.size),
            socket.MSG_DONTWAIT | socket.MSG_CMSG_CLOEXEC,
        )
    except OSError:
        return False
    told = [
        value for level, kind, value in about if (level, kind) == (socket.SOL_SOCKET, socket.SCM_CREDENTIALS)
    ]
    return data == _ENDED and len(told) == 1 and _CREDENTIALS.unpack(told[0])[0] == sender


def write_message(pipe: BinaryIO, header: dict[str, Any], *bodies: bytes | memoryview) -> None:
    """Write one message; several bodies are sent one after the other as one."""
    encoded = json.dumps(header).encode()
    length = sum(len(body) for body in bodies)
    for part in (_LENGTHS.pack(len(encoded), length) + encoded, *bodies):
        view = memoryview(part)
        while view:  # an unbuffered pipe may take less than it is given
            view = view[pipe.write(view) :]
    pipe.flush()


def read_message(pipe: BinaryIO, max_body_bytes: int) -> tuple[dict[str, Any], bytearray]:
    """Read one message. Raises ``EOFError`` at the end of the pipe and ``ProtocolError`` for nonsense."""
    header_bytes, body_bytes = _LENGTHS.unpack(_read_exactly(pipe, _LENGTHS.size))
    if header_bytes > _MAX_HEADER_BYTES or body_bytes > max_body_bytes:
        raise ProtocolError("message too long")
    try:
        header = json.loads(_read_exactly(pipe, header_bytes))
    except (ValueError, RecursionError):
        raise ProtocolError("header is not JSON") from None
    if not isinstance(header, dict):
        raise ProtocolError("header is not an object")
    return header, _read_exactly(pipe, body_bytes)


def _read_exactly(pipe: BinaryIO, count: int) -> bytearray:
    """Exactly ``count`` bytes, filled in place so that a large array is never held twice."""
    buffer = bytearray(count)
    view, filled = memoryview(buffer), 0
    while filled < count:
        # One read is capped: a header may promise more than ever comes.
        got = pipe.readinto(view[filled:])  # type: ignore[attr-defined]
        if not got:
            raise EOFError
        filled += got
    return buffer
