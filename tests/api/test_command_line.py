"""The commands of a client over real HTTP against the whole application; storage and search are real."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import typer
from fake_media import fake_mp4, fake_png, fake_wav
from fake_platform import Platform
from typer.testing import CliRunner, Result

from serving.cli import register
from serving.cli.command_group import CommandGroup
from serving.cli.exit_codes import ExitCode

Cli = Callable[..., Result]


@pytest.fixture
def cli(live: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cli:
    app, models = typer.Typer(cls=CommandGroup), typer.Typer()
    register(app, models)
    app.add_typer(models, name="models")
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")

    def run(*arguments: str, input: str | bytes | None = None) -> Result:  # noqa: A002 - click's name
        return CliRunner().invoke(app, list(arguments), input=input, env={"MANYMODAL_URL": live})

    return run


def read(result: Result) -> Any:
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def test_a_life_of_media(cli: Cli, platform: Platform) -> None:
    cat, talk = fake_png(), fake_wav((0.0, 1.0, "hello there"))
    Path("cat.png").write_bytes(cat)
    Path("talk.wav").write_bytes(talk)
    put = cli("media", "put", "cat.png", "-", input=talk)
    first, second = put.stdout.split()
    assert put.exit_code == 0
    again = cli("media", "put", "cat.png")
    assert f"looks like {first}" in again.stderr
    third = again.stdout.strip()
    listed = read(cli("media", "ls", "--json"))
    assert [(one["id"], one["kind"]) for one in listed] == [
        (third, "image"),
        (second, "audio"),
        (first, "image"),
    ]
    assert [one["id"] for one in read(cli("media", "ls", "--kind", "audio", "--json"))] == [second]
    assert read(cli("media", "ls", "-n", "1", "--json"))[0]["id"] == third
    shown = cli("media", "ls").stdout.splitlines()
    assert len(shown) == 4
    assert shown[1].split()[:2] == [third, "image"]
    assert read(cli("media", "show", first, "--json"))["filename"] == "cat.png"
    assert "cat.png" in cli("media", "show", first).stdout

    piped = cli("media", "get", second)  # standard output is no terminal here
    assert piped.stdout_bytes == talk
    assert read(cli("media", "get", first, "--json")) == {"id": first, "path": "cat-1.png", "bytes": len(cat)}
    assert Path("cat-1.png").read_bytes() == cat
    assert cli("media", "get", first, "-o", "named.png").exit_code == 0
    assert Path("named.png").read_bytes() == cat
    assert "/v1/links/" in cli("media", "link", first, "--seconds", "60").stdout

    nobody = f"file-{9:032x}"
    gone = cli("media", "rm", first, nobody, "--json")
    assert gone.exit_code == ExitCode.REFUSED
    assert [row["deleted"] for row in json.loads(gone.stdout)] == [True, False]
    assert nobody in gone.stderr
    assert cli("media", "get", first, "-o", "gone.png").exit_code == ExitCode.REFUSED
    assert sorted(one.name for one in Path().iterdir()) == ["cat-1.png", "cat.png", "named.png", "talk.wav"]
    assert cli("media", "rm", second, third).exit_code == 0
    assert "There are none" in cli("media", "ls").stderr


def test_a_name_from_elsewhere_leads_to_no_other_folder(cli: Cli, live: str) -> None:
    import openai

    with openai.OpenAI(base_url=f"{live}/v1", api_key="none") as client:
        made = client.files.create(file=("../../.profile", b"text"), purpose="user_data")
    assert read(cli("media", "get", made.id, "--json"))["path"] == "profile"


def test_a_life_of_collections(cli: Cli) -> None:
    Path("sea.txt").write_text("waves at the sea", "utf-8")
    Path("tea.txt").write_text("hot tea", "utf-8")
    Path("cat.png").write_bytes(fake_png())
    assert cli("collections", "create", "empty", "--storage", "int8").exit_code == 0
    assert cli("index", "-c", "mine", "sea.txt", "tea.txt", "cat.png").exit_code == 0
    listed = {one["name"]: one["documents"] for one in read(cli("collections", "ls", "--json"))}
    assert (listed["empty"], listed["mine"]) == (0, 3)
    assert "2 text" in cli("collections", "ls").stdout
    assert cli("collections", "alias", "live", "mine").exit_code == 0
    assert read(cli("collections", "show", "live", "--json"))["aliases"] == ["live"]
    assert "384 numbers" in cli("collections", "show", "mine").stdout
    documents = read(cli("collections", "documents", "live", "-n", "2", "--json"))
    assert len(documents) == 2
    rest = read(cli("collections", "documents", "live", "--after", documents[-1]["id"], "--json"))
    assert len(rest) == 1
    assert "cat.png" in cli("collections", "documents", "mine").stdout
    found = read(cli("search", "tea", "-c", "live", "-m", "text", "--json"))["results"]
    assert found[0]["text"] == "hot tea"
    groups = read(cli("collections", "clusters", "mine", "-n", "2", "--json"))["data"]
    assert sum(group["size"] for group in groups) == 3
    assert "Typical" in cli("collections", "clusters", "mine").stdout
    tea = found[0]["id"]
    assert read(cli("collections", "near-duplicates", "mine", tea, "--json"))["data"] == []
    assert "much alike" in cli("collections", "near-duplicates", "mine", tea).stderr
    assert cli("collections", "forget", "mine", tea).exit_code == 0
    assert read(cli("collections", "show", "mine", "--json"))["documents"] == 2
    assert cli("collections", "unalias", "live", "mine").exit_code == 0
    assert cli("collections", "rm", "mine", "--yes").exit_code == 0
    missing = cli("collections", "show", "mine")
    assert missing.exit_code == ExitCode.REFUSED
    assert "manymodal collections ls" in missing.stderr


def test_search_by_a_picture_and_by_what_is_said(cli: Cli, platform: Platform) -> None:
    Path("cat.png").write_bytes(fake_png())
    Path("film.mp4").write_bytes(fake_mp4([{"dog": 0.9}, {"cat": 0.9}], (0.0, 2.0, "look at the cat")))
    assert cli("index", "cat.png", "film.mp4").exit_code == 0
    stored = len(platform.media.list("default"))
    by_picture = read(cli("search", "--image", "cat.png", "-m", "video", "--json"))["results"]
    assert by_picture[0]["matches"][0]["start_seconds"] == 1.0
    said = read(cli("search", "--audio", "-", "--json", input=fake_wav((0.0, 1.0, "a cat"))))
    assert said["results"]
    assert len(platform.media.list("default")) == stored  # what is only looked at does not stay


def test_vectors_of_texts_lines_and_media(cli: Cli) -> None:
    Path("cat.png").write_bytes(fake_png({"cat": 0.9}))
    lines = "".join(f"text {number}\n\n" for number in range(6))
    vectors = [json.loads(line) for line in cli("embed", input=lines).stdout.splitlines()]
    assert [len(vector) for vector in vectors] == [384] * 6
    given = cli("embed", "text 3", "--image", "cat.png").stdout.splitlines()
    assert json.loads(given[0]) == vectors[3]
    assert len(given) == 2
    answer = read(cli("embed", "-", "--json", input="one"))
    assert (len(answer["data"]), answer["model"]) == (1, "all-minilm-l6-v2")
    assert cli("embed", "x", "--model", "other").exit_code == ExitCode.REFUSED


def test_what_is_flagged_ends_with_1(cli: Cli) -> None:
    Path("nude.png").write_bytes(fake_png(sexual=0.9))
    calm = cli("moderate", "The cat sits.")
    assert (calm.exit_code, "passed" in calm.stdout) == (0, True)
    result = cli("moderate", "You idiot!", "The cat sits.", "--image", "nude.png", "--json")
    assert result.exit_code == ExitCode.FAILED
    found = json.loads(result.stdout)
    assert [(one["input"], one["flagged"]) for one in found] == [
        ("You idiot!", True),
        ("The cat sits.", False),
        ("nude.png", True),
    ]
    assert "harassment" in cli("moderate", "-", input="You idiot!").stdout


def test_speech_goes_into_pipes_and_files(cli: Cli) -> None:
    assert cli("speak", "Good morning.", "-f", "pcm").stdout_bytes == b"<Good><morning.>"
    assert read(cli("speak", "-", "-o", "hi.pcm", "-f", "pcm", "--json", input="Hi you."))["bytes"] == len(
        b"<Hi><you.>"
    )
    assert Path("hi.pcm").read_bytes() == b"<Hi><you.>"
    refused = cli("speak", "unreadable", "-o", "nothing.mp3")
    assert refused.exit_code == ExitCode.REFUSED
    assert not Path("nothing.mp3").exists()


def test_bench_over_the_real_stream(cli: Cli) -> None:
    found = read(cli("bench", "-n", "3", "-c", "2", "--json"))
    assert (found["answered"], found["failed"]) == (3, {})
    assert found["completion_tokens"] > 0


def test_models_are_offered_to_a_shell(live: str) -> None:
    from typer.main import get_command

    app, models = typer.Typer(cls=CommandGroup), typer.Typer()
    register(app, models)
    chat = get_command(app).commands["chat"]
    (option,) = [one for one in chat.params if one.name == "model"]
    with chat.make_context("chat", ["Hi", "--url", live]) as context:
        offered = {item.value for item in option.shell_complete(context, "")}
    assert {"default", "smollm2-135m-instruct"} <= offered


def test_what_is_too_large_for_a_request_goes_in_parts(
    cli: Cli, platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("serving.cli.client._ONE_REQUEST_BYTES", 1000)
    monkeypatch.setattr("serving.cli.client._PART_BYTES", 50_000)
    small, large = fake_png(note="x" * 60_000), fake_png(note="x" * 120_000)
    first = read(cli("media", "put", "-", "--json", input=small))[0]
    assert (first["object"], first["bytes"]) == ("media", len(small))
    second = read(cli("media", "put", "-", "--json", input=large))[0]
    assert (second["object"], second["bytes"]) == ("file", len(large))  # more than the platform opens
    assert cli("media", "get", second["id"]).stdout_bytes == large
    broken = cli("media", "put", "-", input=b"\x89PNG\r\n\x1a\nnot JSON" + bytes(2000))
    assert broken.exit_code == ExitCode.REFUSED
    assert len(platform.media.list("default")) == 2
