"""The client's commands against a fake platform over real HTTP."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import typer
from fake_http_platform import FakeHttpPlatform
from typer.testing import CliRunner, Result

from serving.cli.client import base_url
from serving.cli.exit_codes import ExitCode
from serving.cli.failures import UnusableInput
from serving.cli.messages import harmless, print_json
from serving.cli.used import describe_medium

Cli = Callable[..., Result]

FIRST, SECOND = f"file-{0:032x}", f"file-{1:032x}"  # ids the fake gives out


def _data_url(content: bytes) -> str:
    return f"data:application/octet-stream;base64,{base64.b64encode(content).decode()}"


# chat


def test_chat_streams_the_answer(cli: Cli, platform: FakeHttpPlatform) -> None:
    result = cli("chat", "What is a cat?", "--system", "Be brief.", "--max-tokens", "5", "--temperature", "0")
    assert (result.exit_code, result.stdout) == (0, "A cat.\n")
    (sent,) = platform.sent("chat/completions")
    assert sent["stream"] is True
    assert (sent["max_tokens"], sent["temperature"], sent["model"]) == (5, 0.0, "default")
    assert sent["messages"] == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": [{"type": "text", "text": "What is a cat?"}]},
    ]


def test_chat_uploads_files_and_passes_addresses_on(
    cli: Cli, platform: FakeHttpPlatform, folder: Path
) -> None:
    picture, remote = str(folder / "a.png"), "https://example.com/talk.mp3"
    result = cli("chat", "What?", "--image", picture, "--image", picture, "--audio", remote)
    assert result.exit_code == 0
    assert platform.media[FIRST]["content"] == b"content of a.png"
    (sent,) = platform.sent("chat/completions")
    assert sent["messages"][0]["content"] == [
        {"type": "image_url", "image_url": {"url": FIRST}},
        {"type": "image_url", "image_url": {"url": SECOND}},
        {"type": "audio_url", "audio_url": {"url": remote}},
        {"type": "text", "text": "What?"},
    ]


def test_chat_reads_the_question_from_standard_input(cli: Cli, platform: FakeHttpPlatform) -> None:
    assert cli("chat", input="What is tea?").exit_code == 0
    assert platform.sent("chat/completions")[0]["messages"][0]["content"][0]["text"] == "What is tea?"


def test_chat_json_gives_the_whole_answer_with_what_was_used(cli: Cli, folder: Path) -> None:
    result = cli("chat", "What?", "--image", str(folder / "a.png"), "--json")
    answer = json.loads(result.stdout)
    assert answer["choices"][0]["message"]["content"] == "A cat."
    assert answer["manymodal"]["media"][0]["labels"][0]["text"] == "tabby"


def test_chat_looks_at_what_is_piped_in(cli: Cli, platform: FakeHttpPlatform) -> None:
    assert cli("chat", "What?", "--image", "-", input=b"\xffpicture").exit_code == 0
    assert platform.media[FIRST]["content"] == b"\xffpicture"


def test_chat_reports_an_answer_that_breaks_off(cli: Cli, platform: FakeHttpPlatform) -> None:
    platform.break_off = True
    result = cli("chat", "hello")
    assert result.exit_code == 1
    assert "The model stopped." in result.stderr


@pytest.mark.parametrize(
    ("arguments", "input", "says"),
    [
        (["chat"], "  \n", "The question is empty"),
        (["chat", "hi", "--image", "missing.png"], None, "'missing.png' cannot be read: No such file"),
        (["search"], None, "Nothing to look for"),
        (["transcribe", "-"], "", "Standard input holds nothing"),
        (["transcribe", "missing.mp3"], None, "'missing.mp3' cannot be read"),
        (["chat", "--image", "-"], b"picture", "give the question too"),
        (["chat", "-", "--image", "-"], "x", "Standard input can be read once"),
        (["chat"], b"\xff\xfe", "is no UTF-8 text"),
        (["speak", " "], None, "The text is empty"),
        (["speak", "Hi.", "--json"], None, "give --output FILE"),
        (["moderate", ""], None, "A text is empty"),
        (["collections", "rm", "mine"], None, "give --yes"),
    ],
)
def test_unusable_input_ends_with_2_and_says_why(
    cli: Cli,
    platform: FakeHttpPlatform,
    arguments: list[str],
    input: str | None,  # noqa: A002 - click's name
    says: str,
) -> None:
    result = cli(*arguments, input=input)
    assert result.exit_code == 2
    assert says in result.stderr
    assert platform.requests == []


# transcribe


@pytest.mark.parametrize(
    ("form", "printed"), [("text", "Hello there.\n"), ("srt", "(srt)\n"), ("vtt", "(vtt)\n")]
)
def test_transcribe_prints_text_and_subtitles(cli: Cli, folder: Path, form: str, printed: str) -> None:
    result = cli("transcribe", str(folder / "a.png"), "--format", form, "--language", "en")
    assert (result.exit_code, result.stdout) == (0, printed)


def test_transcribe_reads_standard_input(cli: Cli, platform: FakeHttpPlatform) -> None:
    result = cli("transcribe", "-", "--json", input=b"\xff\x00sound")
    assert json.loads(result.stdout) == {"text": "Hello there."}
    assert platform.sent("audio/transcriptions")[0]["content"] == b"\xff\x00sound"


def test_transcribe_verbose_json_has_times(cli: Cli, folder: Path) -> None:
    result = cli("transcribe", str(folder / "a.png"), "-f", "verbose_json")
    assert json.loads(result.stdout)["words"][1]["end"] == 1.5


# search


def _hit(**facts: Any) -> dict[str, Any]:
    return {"id": "one", "type": "text", "similarity_score": 0.5, "metadata": {}, "matches": [], **facts}


def test_search_shows_hits_with_the_times_that_match(cli: Cli, platform: FakeHttpPlatform) -> None:
    times = [{"start_seconds": 11.25, "end_seconds": 12.0, "score": 0.7, "text": ""}]
    platform.hits = lambda query: [
        _hit(type="video", metadata={"filename": "v.mp4"}, matches=times),
        _hit(text="[red]\x1b[31mTea"),
    ]
    result = cli("search", "a cat", "--top", "3", "-m", "video", "-m", "text", "-c", "mine")
    assert result.exit_code == 0
    assert "v.mp4" in result.stdout
    assert "11.2-12.0 s" in result.stdout
    assert "[red][31mTea" in result.stdout
    assert platform.sent("search") == [
        {
            "query": [{"type": "text", "content": "a cat"}],
            "top_k": 3,
            "collection": "mine",
            "search_modalities": ["video", "text"],
        }
    ]


def test_search_takes_a_mode_and_filters(cli: Cli, platform: FakeHttpPlatform) -> None:
    options = [
        "-f",
        "user_id=7",
        "-f",
        'name="7"',
        "-f",
        "tag=new",
        "-f",
        'price={"gte": 1}',
        "--mode",
        "hybrid",
    ]
    assert cli("search", "a cat", *options).exit_code == 0
    (sent,) = platform.sent("search")
    assert sent["mode"] == "hybrid"
    assert sent["filters"] == {"user_id": 7, "name": "7", "tag": "new", "price": {"gte": 1}}


@pytest.mark.parametrize("filters", [["tag"], ["=x"], ["a=1", "a=2"]])
def test_search_refuses_what_is_no_filter(cli: Cli, filters: list[str]) -> None:
    options = [part for one in filters for part in ("--filter", one)]
    result = cli("search", "a cat", *options)
    assert result.exit_code == 2
    assert "is not a filter: give NAME=VALUE" in result.stderr


def test_search_combines_words_and_a_picture(cli: Cli, platform: FakeHttpPlatform, folder: Path) -> None:
    result = cli("search", "red", "--image", str(folder / "a.png"), "--json")
    assert json.loads(result.stdout) == {"results": []}
    assert platform.sent("search")[0]["query"] == [
        {"type": "text", "content": "red"},
        {"type": "image", "content": _data_url(b"content of a.png")},
    ]


def test_search_says_when_nothing_is_found(cli: Cli) -> None:
    result = cli("search", "a cat")
    assert (result.exit_code, result.stdout) == (0, "")
    assert "Nothing was found." in result.stderr


def test_search_listens_to_what_is_piped_in(cli: Cli, platform: FakeHttpPlatform) -> None:
    assert cli("search", "--audio", "-", "--json", input=b"\xffsound").exit_code == 0
    assert cli("search", "-", "--image", FIRST, "--json", input="a cat\n").exit_code == 0
    heard, read = platform.sent("search")
    assert heard["query"] == [{"type": "audio", "content": _data_url(b"\xffsound")}]
    assert read["query"] == [{"type": "text", "content": "a cat"}, {"type": "image", "content": FIRST}]
    assert platform.media == {}  # what is only looked at does not stay


# keys


@pytest.mark.parametrize("command", [("models",), ("chat", "Hi"), ("search", "cat")])
def test_the_api_key_is_sent_with_every_request(
    app: typer.Typer, url: str, platform: FakeHttpPlatform, command: tuple[str, ...]
) -> None:
    given = [*command, "--url", url, "--api-key", "mm_1_a"]
    assert CliRunner().invoke(app, given).exit_code == 0
    environment = {"MANYMODAL_API_KEY": "mm_2_b", "MANYMODAL_URL": url}
    assert CliRunner().invoke(app, list(command), env=environment).exit_code == 0
    assert set(platform.keys) == {"Bearer mm_1_a", "Bearer mm_2_b"}


def test_what_is_done_about_a_key_that_is_not_taken(cli: Cli, platform: FakeHttpPlatform) -> None:
    error = {"message": "This server needs an API key.", "code": "invalid_api_key"}
    platform.refusals["models"] = (401, error)
    result = cli("models")
    assert (result.exit_code, "MANYMODAL_API_KEY" in result.stderr) == (ExitCode.REFUSED, True)
    result = cli("models", "--api-key", "a\nb")
    assert result.exit_code != 0
    assert "has characters" in result.stderr


# models, errors, addresses


def test_models_lists_what_is_served(cli: Cli) -> None:
    assert "tiny" in cli("models").stdout
    assert json.loads(cli("models", "--json").stdout)[0]["manymodal"] == {"task": "chat"}


@pytest.mark.parametrize(
    "arguments",
    [["chat", "hi"], ["search", "hi"], ["models"], ["transcribe", "-"], ["index", __file__], ["bench"]],
)
def test_no_server_names_the_next_step(cli: Cli, arguments: list[str]) -> None:
    # Port 1 is reserved and nothing listens there.
    result = cli(*arguments, at="http://127.0.0.1:1", input="hi")
    assert result.exit_code == ExitCode.NO_SERVER
    assert "No server answers at http://127.0.0.1:1: start one with `manymodal up`" in result.stderr


@pytest.mark.parametrize(
    ("command", "refusal", "code", "says"),
    [
        (
            "search",
            (404, {"message": "None.", "code": "collection_not_found"}),
            4,
            "None. `manymodal collections ls`",
        ),
        ("search", (400, {"message": "A bad query."}), 4, "Error: A bad query.\n"),
        ("search", (404, "<html>not found</html>"), 4, "status 404 and no reason; is it Manymodal?"),
        ("search", (500, {"message": "It broke."}), 1, "Error: It broke.\n"),
        ("chat", (404, {"message": "None.", "code": "model_not_found"}), 4, "None. `manymodal models` lists"),
        ("chat", (503, {"message": "It is starting."}), 5, "It is starting. Try again in a moment."),
        ("chat", (429, {"message": "Too many."}), 5, "Too many. Try again in a moment."),
        ("chat", (502, "<html>bad gateway</html>"), 5, "status 502 and no reason; is it Manymodal?"),
    ],
)
def test_refusals_give_the_reason_the_next_step_and_an_exit_code(
    cli: Cli,
    platform: FakeHttpPlatform,
    command: str,
    refusal: tuple[int, Any],
    code: int,
    says: str,
) -> None:
    platform.refusals[{"chat": "chat/completions"}.get(command, command)] = refusal
    result = cli(command, "hello")
    assert result.exit_code == code
    assert says in result.stderr
    assert result.stdout == ""


def test_a_proxy_does_not_stand_before_the_own_machine(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:1")
    assert cli("chat", "hi").exit_code == 0
    assert cli("models").exit_code == 0


@pytest.mark.parametrize(
    "given",
    ["127.0.0.1:8000", "http://127.0.0.1:8000/", "http://127.0.0.1:8000/v1", " http://127.0.0.1:8000/v1/ "],
)
def test_addresses_are_taken_in_any_usual_form(given: str) -> None:
    assert base_url(given) == "http://127.0.0.1:8000"


@pytest.mark.parametrize("given", ["", "ftp://host", "http://", "http://host:port", "http://[::1"])
def test_what_is_no_address_is_refused(given: str) -> None:
    with pytest.raises(UnusableInput, match="is not an address of a server"):
        base_url(given)


def test_what_was_used_is_said_in_one_line() -> None:
    medium = {
        "kind": "video",
        "frames": [{"time_seconds": 0.75}, {"time_seconds": 2.25}],
        "seconds_heard": 24.0,
        "transcript_segments": 1,
        "prompt_tokens": 40,
        "left_out": ["2 moments of the video"],
        "cache": {"frames": "hit", "transcript": "miss"},
    }
    assert describe_medium(medium) == (
        "video: looked at 2 frames (0.8, 2.2 s); heard 24.0 s, 1 passage of speech; 40 prompt tokens; "
        "left out: 2 moments of the video; cache: frames hit, transcript miss"
    )
    picture = {"kind": "image", "labels": [{"text": "tabby", "probability": 0.756}], "ocr_lines": 1}
    assert describe_medium(picture) == "image: saw tabby 76%; read 1 line of text"


def test_control_characters_do_not_reach_a_terminal() -> None:
    assert harmless("a\x1b[2J\x07\x9b1m\r\tb\n") == "a[2J1m\tb\n"


def test_json_is_readable_and_does_not_steer_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    given = {"said": "Käse \x1b[2J \x9b2J \udcff 猫"}
    print_json(given)
    printed = capsys.readouterr().out
    assert "Käse" in printed
    assert "猫" in printed
    assert harmless(printed) == printed
    assert json.loads(printed) == given


def test_the_commands_start_without_loading_http_libraries() -> None:
    heavy = {"fastapi", "httpx", "numpy", "openai", "pydantic", "ray", "rich", "torch"}
    code = f"import sys, serving.cli; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout == "[]\n"
