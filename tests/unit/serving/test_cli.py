"""The client's commands against a fake platform over real HTTP."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from fake_http_platform import FakeHttpPlatform, running
from typer.testing import CliRunner, Result

from serving.cli import index_sender, register
from serving.cli.client import base_url
from serving.cli.failures import UnusableInput
from serving.cli.index_sources import document_id, files_in
from serving.cli.options import harmless
from serving.cli.used import describe_medium

FIRST, SECOND = f"file-{0:032x}", f"file-{1:032x}"  # ids the fake gives out


@pytest.fixture
def app() -> typer.Typer:
    app, models = typer.Typer(), typer.Typer()
    app.add_typer(models, name="models")
    register(app, models)
    return app


@pytest.fixture(scope="module")
def served() -> Iterator[tuple[FakeHttpPlatform, str]]:
    """One server for all tests: stopping one takes longer than a test."""
    platform = FakeHttpPlatform()
    with running(platform) as url:
        yield platform, url


@pytest.fixture
def platform(served: tuple[FakeHttpPlatform, str]) -> FakeHttpPlatform:
    served[0].reset()
    return served[0]


@pytest.fixture
def url(platform: FakeHttpPlatform, served: tuple[FakeHttpPlatform, str]) -> str:
    return served[1]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two pictures, a text, and things that are not to be indexed."""
    (tmp_path / "below").mkdir()
    (tmp_path / ".hidden").mkdir()
    for name in ("a.png", "below/b.jpg", ".hidden/c.png", "program.py", "drawing.svg"):
        (tmp_path / name).write_bytes(b"content of " + name.encode())
    (tmp_path / "notes.txt").write_text("Tea is hot.", "utf-8")
    return tmp_path


def run(app: typer.Typer, url: str, *arguments: str, input: str | bytes | None = None) -> Result:  # noqa: A002
    command, *rest = arguments
    return CliRunner().invoke(app, [command, "--url", url, *rest], input=input)


# chat


def test_chat_streams_the_answer(app: typer.Typer, url: str, platform: FakeHttpPlatform) -> None:
    result = run(
        app, url, "chat", "What is a cat?", "--system", "Be brief.", "--max-tokens", "5", "--temperature", "0"
    )
    assert (result.exit_code, result.stdout) == (0, "A cat.\n")
    (sent,) = platform.sent("chat/completions")
    assert sent["stream"] is True
    assert (sent["max_tokens"], sent["temperature"], sent["model"]) == (5, 0.0, "default")
    assert sent["messages"] == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": [{"type": "text", "text": "What is a cat?"}]},
    ]


def test_chat_uploads_files_and_passes_addresses_on(
    app: typer.Typer, url: str, platform: FakeHttpPlatform, folder: Path
) -> None:
    picture, remote = str(folder / "a.png"), "https://example.com/talk.mp3"
    result = run(app, url, "chat", "What?", "--image", picture, "--image", picture, "--audio", remote)
    assert result.exit_code == 0
    assert platform.media[FIRST]["content"] == b"content of a.png"
    (sent,) = platform.sent("chat/completions")
    assert sent["messages"][0]["content"] == [
        {"type": "image_url", "image_url": {"url": FIRST}},
        {"type": "image_url", "image_url": {"url": SECOND}},
        {"type": "audio_url", "audio_url": {"url": remote}},
        {"type": "text", "text": "What?"},
    ]


def test_chat_reads_the_question_from_standard_input(
    app: typer.Typer, url: str, platform: FakeHttpPlatform
) -> None:
    assert run(app, url, "chat", input="What is tea?").exit_code == 0
    assert platform.sent("chat/completions")[0]["messages"][0]["content"][0]["text"] == "What is tea?"


def test_chat_json_gives_the_whole_answer_with_what_was_used(
    app: typer.Typer, url: str, folder: Path
) -> None:
    result = run(app, url, "chat", "What?", "--image", str(folder / "a.png"), "--json")
    answer = json.loads(result.stdout)
    assert answer["choices"][0]["message"]["content"] == "A cat."
    assert answer["manymodal"]["media"][0]["labels"][0]["text"] == "tabby"


def test_chat_reports_an_answer_that_breaks_off(
    app: typer.Typer, url: str, platform: FakeHttpPlatform
) -> None:
    platform.break_off = True
    result = run(app, url, "chat", "hello")
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
    ],
)
def test_unusable_input_ends_with_2_and_says_why(
    app: typer.Typer,
    url: str,
    platform: FakeHttpPlatform,
    arguments: list[str],
    input: str | None,  # noqa: A002
    says: str,
) -> None:
    result = run(app, url, *arguments, input=input)
    assert result.exit_code == 2
    assert says in result.stderr
    assert platform.requests == []


# transcribe


@pytest.mark.parametrize(
    ("form", "printed"), [("text", "Hello there.\n"), ("srt", "(srt)\n"), ("vtt", "(vtt)\n")]
)
def test_transcribe_prints_text_and_subtitles(
    app: typer.Typer, url: str, folder: Path, form: str, printed: str
) -> None:
    result = run(app, url, "transcribe", str(folder / "a.png"), "--format", form, "--language", "en")
    assert (result.exit_code, result.stdout) == (0, printed)


def test_transcribe_reads_standard_input(app: typer.Typer, url: str, platform: FakeHttpPlatform) -> None:
    result = run(app, url, "transcribe", "-", "--json", input=b"\xff\x00sound")
    assert json.loads(result.stdout) == {"text": "Hello there."}
    assert platform.sent("audio/transcriptions")[0]["content"] == b"\xff\x00sound"


def test_transcribe_verbose_json_has_times(app: typer.Typer, url: str, folder: Path) -> None:
    result = run(app, url, "transcribe", str(folder / "a.png"), "-f", "verbose_json")
    assert json.loads(result.stdout)["words"][1]["end"] == 1.5


# index


def test_index_takes_media_and_texts_of_a_folder(
    app: typer.Typer, url: str, platform: FakeHttpPlatform, folder: Path
) -> None:
    for _ in range(2):
        result = run(app, url, "index", str(folder), "--collection", "mine")
        assert (result.exit_code, result.stdout) == (0, "3 of 3 files are in the collection 'mine'.\n")
    documents = platform.documents["mine"]
    assert [document["metadata"]["filename"] for document in documents.values()] == [
        "a.png",
        "notes.txt",
        "b.jpg",
    ]
    assert documents[document_id(folder / "notes.txt")]["text"] == "Tea is hot."
    assert documents[document_id(folder / "a.png")]["content"] == b"content of a.png"


def test_index_goes_on_after_a_file_that_fails(
    app: typer.Typer, url: str, platform: FakeHttpPlatform, folder: Path, tmp_path: Path
) -> None:
    platform.refused_names = {"a.png"}
    platform.duplicates = {"b.jpg"}
    report = tmp_path / "report.jsonl"
    result = run(app, url, "index", str(folder), str(folder / "missing.png"), "--report", str(report))
    assert result.exit_code == 1
    assert result.stdout == "2 of 4 files are in the collection 'default'. 1 skipped, 2 failed.\n"
    assert f"{folder / 'a.png'}: The file is broken." in result.stderr
    assert "missing.png" in result.stderr
    lines = [json.loads(line) for line in report.read_text().splitlines()]
    assert sorted((Path(line["path"]).name, line["status"]) for line in lines) == [
        ("a.png", "failed"),
        ("b.jpg", "skipped"),
        ("missing.png", "failed"),
    ]


def test_index_json_prints_a_line_per_file_and_the_statistics(
    app: typer.Typer, url: str, folder: Path
) -> None:
    (folder / "latin.txt").write_bytes(b"caf\xe9")
    result = run(app, url, "index", str(folder), "--json")
    *files, last = map(json.loads, result.stdout.splitlines())
    lines = {Path(line["path"]).name: line for line in files}
    assert result.exit_code == 1
    assert lines["latin.txt"]["error"] == "The file is not UTF-8 text."
    assert lines["a.png"]["parts"] == 1
    statistics = last["statistics"]
    assert (statistics["total_processed"], statistics["successful"], statistics["failed"]) == (4, 3, 1)
    assert {"total_duration_ms", "avg_time_per_item_ms", "throughput"} <= set(statistics)


def test_index_resumes_where_it_was(
    app: typer.Typer, url: str, platform: FakeHttpPlatform, folder: Path, tmp_path: Path
) -> None:
    journal = str(tmp_path / "state" / "journal.jsonl")
    platform.refused_names = {"a.png"}
    assert run(app, url, "index", str(folder), "--journal", journal).exit_code == 1
    with Path(journal).open("a") as file:
        file.write('["path-cut o')  # a crash
    platform.refused_names = set()
    platform.requests.clear()
    (folder / "notes.txt").write_text("Tea is cold.", "utf-8")
    result = run(app, url, "index", str(folder), "--journal", journal)
    assert result.stdout == "3 of 3 files are in the collection 'default'. 1 were sent before.\n"
    (sent,) = platform.sent("batch")
    assert [document["metadata"]["filename"] for document in sent["documents"]] == ["a.png", "notes.txt"]
    platform.requests.clear()
    assert run(app, url, "index", str(folder), "--journal", journal).exit_code == 0
    assert platform.requests == []


def test_index_reads_lists(app: typer.Typer, url: str, platform: FakeHttpPlatform, folder: Path) -> None:
    (folder / "photos.csv").write_text("path,id,stars\na.png,cat,5\nbelow/b.jpg,,4\n,x,1\n", "utf-8")
    (folder / "more.jsonl").write_text(
        '{"text": "Tea", "id": "tea"}\n{"url": "http://e.org/c.png"}\n', "utf-8"
    )
    (folder / "urls.txt").write_text("https://e.org/d.png\n", "utf-8")
    names = [str(folder / name) for name in ("photos.csv", "more.jsonl", "urls.txt")]
    result = run(app, url, "index", *names, "--min-side", "32", "--ocr", "off", "--concurrency", "2")
    assert result.exit_code == 1
    assert "photos.csv:3: A row needs exactly one of" in result.stderr
    documents = platform.documents["default"]
    assert documents["cat"]["metadata"]["stars"] == "5"
    assert documents["cat"]["content"] == b"content of a.png"
    assert documents["tea"]["text"] == "Tea"
    urls = {document["url"] for document in documents.values() if "url" in document}
    assert urls == {"http://e.org/c.png", "https://e.org/d.png"}
    assert platform.sent("batch")[0]["min_side"] == 32


def test_index_tries_again_what_may_pass(
    app: typer.Typer, url: str, platform: FakeHttpPlatform, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(index_sender, "_MOST_DELAY_SECONDS", 0.01)
    platform.busy_times = 3
    result = run(app, url, "index", str(folder))
    assert result.exit_code == 0
    assert len(platform.sent("batch")) == 4


def test_index_says_when_a_folder_holds_nothing(app: typer.Typer, url: str, tmp_path: Path) -> None:
    result = run(app, url, "index", str(tmp_path))
    assert result.exit_code == 2
    assert "No media or text files" in result.stderr


def test_a_named_file_is_taken_whatever_it_is(folder: Path) -> None:
    assert list(files_in([folder / "program.py"])) == [folder / "program.py"]


# search


def _hit(**facts: Any) -> dict[str, Any]:
    return {"id": "one", "type": "text", "similarity_score": 0.5, "metadata": {}, "matches": [], **facts}


def test_search_shows_hits_with_the_times_that_match(
    app: typer.Typer, url: str, platform: FakeHttpPlatform
) -> None:
    times = [{"start_seconds": 11.25, "end_seconds": 12.0, "score": 0.7, "text": ""}]
    platform.hits = lambda query: [
        _hit(type="video", metadata={"filename": "v.mp4"}, matches=times),
        _hit(text="[red]\x1b[31mTea"),
    ]
    result = run(app, url, "search", "a cat", "--top", "3", "-m", "video", "-m", "text", "-c", "mine")
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


def test_search_takes_a_mode_and_filters(app: typer.Typer, url: str, platform: FakeHttpPlatform) -> None:
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
    assert run(app, url, "search", "a cat", *options).exit_code == 0
    (sent,) = platform.sent("search")
    assert sent["mode"] == "hybrid"
    assert sent["filters"] == {"user_id": 7, "name": "7", "tag": "new", "price": {"gte": 1}}


@pytest.mark.parametrize("filters", [["tag"], ["=x"], ["a=1", "a=2"]])
def test_search_refuses_what_is_no_filter(app: typer.Typer, url: str, filters: list[str]) -> None:
    options = [part for one in filters for part in ("--filter", one)]
    result = run(app, url, "search", "a cat", *options)
    assert result.exit_code == 2
    assert "is not a filter: give NAME=VALUE" in result.stderr


def test_search_combines_words_and_a_picture(
    app: typer.Typer, url: str, platform: FakeHttpPlatform, folder: Path
) -> None:
    result = run(app, url, "search", "red", "--image", str(folder / "a.png"), "--json")
    assert json.loads(result.stdout) == {"results": []}
    assert platform.sent("search")[0]["query"] == [
        {"type": "text", "content": "red"},
        {"type": "image", "content": FIRST},
    ]


def test_search_says_when_nothing_is_found(app: typer.Typer, url: str) -> None:
    assert run(app, url, "search", "a cat").stdout == "Nothing was found.\n"


# keys


@pytest.mark.parametrize("command", [("models",), ("chat", "Hi"), ("search", "cat")])
def test_the_api_key_is_sent_with_every_request(
    app: typer.Typer, url: str, platform: FakeHttpPlatform, command: tuple[str, ...]
) -> None:
    assert run(app, url, *command, "--api-key", "mm_1_a").exit_code == 0
    environment = {"MANYMODAL_API_KEY": "mm_2_b", "MANYMODAL_URL": url}
    assert CliRunner().invoke(app, list(command), env=environment).exit_code == 0
    assert set(platform.keys) == {"Bearer mm_1_a", "Bearer mm_2_b"}


def test_what_is_done_about_a_key_that_is_not_taken(
    app: typer.Typer, url: str, platform: FakeHttpPlatform
) -> None:
    error = {"message": "This server needs an API key.", "code": "invalid_api_key"}
    platform.refusals["models"] = (401, error)
    result = run(app, url, "models")
    assert (result.exit_code, "MANYMODAL_API_KEY" in result.stderr) == (1, True)
    result = run(app, url, "models", "--api-key", "a\nb")
    assert result.exit_code != 0
    assert "has characters" in result.stderr


# models, errors, addresses


def test_models_lists_what_is_served(app: typer.Typer, url: str) -> None:
    assert "tiny" in run(app, url, "models").stdout
    assert json.loads(run(app, url, "models", "--json").stdout)[0]["manymodal"] == {"task": "chat"}


@pytest.mark.parametrize(
    "arguments", [["chat", "hi"], ["search", "hi"], ["models"], ["transcribe", "-"], ["index", __file__]]
)
def test_no_server_names_the_next_step(app: typer.Typer, arguments: list[str]) -> None:
    # Port 1 is reserved and nothing listens there.
    result = run(app, "http://127.0.0.1:1", *arguments, input="hi")
    assert result.exit_code == 1
    assert "No server answers at http://127.0.0.1:1: start one with `manymodal serve`" in result.stderr


@pytest.mark.parametrize(
    ("command", "refusal", "says"),
    [
        (
            "search",
            (404, {"message": "None.", "code": "collection_not_found"}),
            "None. For example: `manymodal index",
        ),
        ("search", (400, {"message": "A bad query."}), "Error: A bad query.\n"),
        ("search", (404, "<html>not found</html>"), "status 404 and no reason; is it Manymodal?"),
        ("chat", (404, {"message": "None.", "code": "model_not_found"}), "None. `manymodal models` lists"),
        ("chat", (503, {"message": "It is starting."}), "It is starting. Try again in a moment."),
        ("chat", (502, "<html>bad gateway</html>"), "status 502 and no reason; is it Manymodal?"),
    ],
)
def test_refusals_give_the_reason_and_the_next_step(
    app: typer.Typer, url: str, platform: FakeHttpPlatform, command: str, refusal: tuple[int, Any], says: str
) -> None:
    platform.refusals[{"chat": "chat/completions"}.get(command, command)] = refusal
    result = run(app, url, command, "hello")
    assert result.exit_code == 1
    assert says in result.stderr


# warm-up


def test_warm_up_sends_each_id_once_and_counts(
    app: typer.Typer, url: str, platform: FakeHttpPlatform, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("serving.cli.warm_up._BATCH_IDS", 2)
    platform.media = {FIRST: {}, SECOND: {}}
    third = f"file-{2:032x}"
    platform.media[third] = {}
    listing = tmp_path / "ids.txt"
    listing.write_text(f"# mine\n{FIRST}\n\n  # more\n  {SECOND} \n{FIRST}\n{third}\n", "utf-8")
    result = run(app, url, "warm-up", str(listing))
    assert result.exit_code == 0
    assert platform.sent("media/warm_up") == [{"ids": [FIRST, SECOND]}, {"ids": [third]}]
    assert (
        result.stdout == "6 results (3 KiB) of 3 media were brought into the caches; 0 ids were not found.\n"
    )


def test_warm_up_from_standard_input_names_what_is_missing(
    app: typer.Typer, url: str, platform: FakeHttpPlatform
) -> None:
    platform.media[FIRST] = {}
    result = run(app, url, "warm-up", "-", "--json", input=f"{FIRST}\n{SECOND}\n")
    assert result.exit_code == 1
    assert json.loads(result.stdout) == {
        "loaded": 2,
        "loaded_bytes": 1024,
        "complete": True,
        "not_found": [SECOND],
    }


def test_warm_up_says_when_there_was_no_room(
    app: typer.Typer, url: str, platform: FakeHttpPlatform, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("serving.cli.warm_up._BATCH_IDS", 1)
    platform.media, platform.room = {FIRST: {}, SECOND: {}}, 3
    result = run(app, url, "warm-up", "-", input=f"{FIRST}\n{SECOND}\n")
    assert result.exit_code == 0
    assert "3 results" in result.stdout
    assert "Not all" in result.stdout


@pytest.mark.parametrize(
    ("content", "says"),
    [(None, "cannot be read"), (b"\xff\xfe", "is no text"), (b"", "lists no ids"), (b"# a\n\n", "no ids")],
)
def test_warm_up_refuses_what_lists_nothing(
    app: typer.Typer,
    url: str,
    platform: FakeHttpPlatform,
    tmp_path: Path,
    content: bytes | None,
    says: str,
) -> None:
    listing = tmp_path / "ids.txt"
    if content is not None:
        listing.write_bytes(content)
    result = run(app, url, "warm-up", str(listing))
    assert (result.exit_code, platform.requests) == (2, [])
    assert says in result.stderr


def test_the_address_comes_from_the_environment(app: typer.Typer, url: str) -> None:
    result = CliRunner().invoke(app, ["chat", "hi"], env={"MANYMODAL_URL": url})
    assert result.stdout == "A cat.\n"


def test_a_proxy_does_not_stand_before_the_own_machine(app: typer.Typer, url: str) -> None:
    proxy = {"HTTP_PROXY": "http://127.0.0.1:1", "ALL_PROXY": "http://127.0.0.1:1", "MANYMODAL_URL": url}
    assert CliRunner().invoke(app, ["chat", "hi"], env=proxy).exit_code == 0
    assert CliRunner().invoke(app, ["models"], env=proxy).exit_code == 0


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


def test_the_commands_start_without_loading_http_libraries() -> None:
    heavy = {"fastapi", "httpx", "numpy", "openai", "pydantic", "ray", "rich", "torch"}
    code = f"import sys, serving.cli; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout == "[]\n"
