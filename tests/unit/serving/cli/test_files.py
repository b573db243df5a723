"""What commands read from and write to beside usual files: pipes with a name, devices, folders, full disks."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from fake_http_platform import FakeHttpPlatform
from typer.testing import Result

from serving.cli.failures import UnusableInput
from serving.cli.inputs import opened
from serving.cli.outputs import write_pieces

Cli = Callable[..., Result]


def test_a_pipe_with_a_name_can_be_read_twice() -> None:
    reading, writing = os.pipe()
    os.write(writing, b"piped")
    os.close(writing)
    with opened(f"/dev/fd/{reading}") as (_, file):
        assert file.read() == b"piped"
        file.seek(0)
        assert file.read() == b"piped"
    os.close(reading)


def test_what_is_no_file_is_written_to_and_stays_what_it_is(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reading = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    assert write_pieces([b"pie", b"ces"], pipe) == 6
    assert os.read(reading, 100) == b"pieces"
    os.close(reading)
    assert pipe.is_fifo()


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    for folder in (tmp_path, Path()):
        with pytest.raises(UnusableInput, match="is a folder"):
            write_pieces([b""], folder)


def test_what_was_not_written_whole_is_not_there(tmp_path: Path) -> None:
    def pieces() -> Iterator[bytes]:
        yield b"half"
        raise OSError(28, "No space left on device")

    target = tmp_path / "sound.mp3"
    target.write_bytes(b"before")
    with pytest.raises(OSError, match="No space"):
        write_pieces(pieces(), target)
    assert [file.name for file in tmp_path.iterdir()] == ["sound.mp3"]
    assert target.read_bytes() == b"before"


def test_what_the_machine_does_not_let_be_done_is_said_in_a_sentence(
    cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("serving.cli.models.print_json", full)
    result = cli("models", "--json")
    assert result.exit_code == 1
    assert "Error: This machine did not let it be done: No space left on device." in result.stderr


@pytest.mark.parametrize("command", [["media", "put"], ["chat", "What?", "--image"]])
def test_nothing_is_uploaded_when_a_file_is_missing(
    cli: Cli, platform: FakeHttpPlatform, folder: Path, command: list[str]
) -> None:
    second = [*command[2:], "missing.png"]
    result = cli(*command, str(folder / "a.png"), *second)
    assert result.exit_code == 2
    assert platform.requests == []


def test_ids_of_what_was_uploaded_are_printed_when_another_fails(
    cli: Cli, platform: FakeHttpPlatform, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from serving.cli.client import Server

    upload = Server.upload

    def first_alone(self: Server, given: Path | str) -> dict[str, object]:
        if platform.media:
            raise UnusableInput("No more.")
        return upload(self, given)

    monkeypatch.setattr(Server, "upload", first_alone)
    result = cli("media", "put", "--json", str(folder / "a.png"), str(folder / "notes.txt"))
    assert result.exit_code == 2
    assert [medium["id"] for medium in json.loads(result.stdout)] == list(platform.media)
