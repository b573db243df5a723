"""What a decoder process that has been taken over can do: nothing but decode."""

from __future__ import annotations

import socket
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from encoders.config import DecodeLimits
from encoders.decoding.sandbox import MediaDecoder
from encoders.decoding.system_calls import filters_are_there
from encoders.errors import EncoderError

pytestmark = pytest.mark.skipif(not filters_are_there(), reason="libseccomp is not installed")

TAKEN_OVER = Path(__file__).parents[3] / "taken_over_decoder.py"
KILLED = "The medium is damaged: its decoder failed on it."


@pytest.fixture(params=[True, False], ids=["a process per medium", "one for all"])
def taken_over(request: pytest.FixtureRequest, make_decoder: Callable[..., MediaDecoder]) -> MediaDecoder:
    limits = DecodeLimits(process_per_medium=request.param)
    return make_decoder(limits, command=(sys.executable, "-P", "-s", str(TAKEN_OVER)))


async def came_of(decoder: MediaDecoder, attempt: str, argument: object = "") -> str:
    with pytest.raises(EncoderError) as caught:
        await decoder.probe(f"{attempt} {argument}".encode())
    return str(caught.value).removeprefix("came of it: ")


async def test_no_file_no_socket_no_process(taken_over: MediaDecoder, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("nobody else's business")
    for attempt in ("open_file", "open_file_in_another_place", "delete", "rename"):
        assert await came_of(taken_over, attempt, secret) in ("PermissionError", "OSError"), attempt
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)
        assert await came_of(taken_over, "connect", server.getsockname()[1]) == KILLED
        with pytest.raises(BlockingIOError):
            server.accept()
    assert await came_of(taken_over, "run", secret) == KILLED
    assert await came_of(taken_over, "multiply") in ("PermissionError", KILLED)
    assert await came_of(taken_over, "trace_parent") == KILLED
    assert secret.read_text() == "nobody else's business"
    # Who gave the jobs lives, and the next one is done: threads are for decoders.
    assert await came_of(taken_over, "kill_parent") == "PermissionError"
    assert await came_of(taken_over, "start_thread") == "[True]"


async def test_a_process_per_medium_leaves_nothing_to_the_next(
    make_decoder: Callable[..., MediaDecoder],
) -> None:
    command = (sys.executable, "-P", "-s", str(TAKEN_OVER))
    decoder = make_decoder(DecodeLimits(process_per_medium=True), command=command)
    assert await came_of(decoder, "remember", "a tenant's") == "[]"
    assert await came_of(decoder, "remember", "another tenant's") == "[]"


@pytest.mark.parametrize("attempt", ["answer_and_stay", "answer_twice", "say_ended"])
async def test_who_stays_after_its_answer_neither_sees_nor_answers_the_next(
    make_decoder: Callable[..., MediaDecoder], attempt: str
) -> None:
    command = (sys.executable, "-P", "-s", str(TAKEN_OVER))
    decoder = make_decoder(DecodeLimits(process_per_medium=True), command=command)
    assert await came_of(decoder, attempt) == "answered"
    assert await came_of(decoder, "remember", "another tenant's") == "[]"
