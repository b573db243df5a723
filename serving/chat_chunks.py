"""What every event of a chat's stream has in OpenAI's API and not in the engine's, put in without parsing.

The engine writes each event as ``data: {"id":...}`` in compact JSON. Inside JSON strings quotes are escaped, so no
text of a model's can look like the places that are changed.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable

__all__ = ["chunk_writer"]

_HEAD = b'data: {"id":'
_LOGPROBS = b'"logprobs":{"content":'
_NOT_OPENAIS = (b',"token_ids":null', b',"prompt_token_ids":null', b',"prompt_text":null')
_FIELD = b'"obfuscation":"",'
# Events are brought to multiples of so many bytes: the length of a token no longer shows in that of its packet.
_STEP_BYTES = 64
_NOISE = secrets.token_urlsafe(3072).encode()
_LAST_START = len(_NOISE) - _STEP_BYTES


def chunk_writer(*, usage: bool, obfuscate: bool, logprobs: bool) -> Callable[[bytes], bytes]:
    """A function over whole events of a stream, to be used for one stream.

    vLLM's own fields are taken out. With ``usage`` every event has the field ``usage``, null where it is not told;
    with ``obfuscate`` random characters fill it up to a length that tells little; with ``logprobs`` these have the
    field ``refusal``.
    """
    null_usage = b'"usage":null,' if usage else b""
    # Where the noise begins is not secret; it only keeps a compressing proxy from seeing repetitions.
    start = secrets.randbelow(_LAST_START)

    def write(events: bytes) -> bytes:
        nonlocal start
        for field in _NOT_OPENAIS:
            events = events.replace(field, b"")
        if logprobs:
            events = events.replace(_LOGPROBS, b'"logprobs":{"refusal":null,"content":')
        parts = events.split(_HEAD)
        if len(parts) == 1:
            return events
        written = [parts[0]]
        for part in parts[1:]:
            told = b"" if b'"usage":{' in part else null_usage
            if not obfuscate:
                written += (b"data: {", told, b'"id":', part)
                continue
            length = len(_HEAD) + len(told) + len(_FIELD) + len(part)
            noise = _NOISE[start : start + -length % _STEP_BYTES]
            start = (start + len(noise) + 1) % _LAST_START
            written += (b'data: {"obfuscation":"', noise, b'",', told, b'"id":', part)
        return b"".join(written)

    return write
