"""What runs the documents' blocks fails where it must, and says where."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from executed_pages import Reader, run_page
from sybil.example import SybilFailure

FENCE = "```"


@pytest.fixture
def reader(tmp_path: Path) -> Iterator[Reader]:
    made = Reader(tmp_path, "http://127.0.0.1:54321", {"WHO": "reader"})
    yield made
    made.close()


def page_of(folder: Path, *blocks: str) -> Path:
    """A page of blocks, each ``language: content``, with a sentence between them."""
    texts = []
    for block in blocks:
        language, _, content = block.partition(": ")
        is_comment = language.startswith("<!--")
        texts.append(f"{block}\n" if is_comment else f"{FENCE}{language}\n{content}\n{FENCE}\n")
    page = folder / "page.md"
    page.write_text("# A page\n\n" + "\nIt prints:\n\n".join(texts), "utf-8")
    return page


def test_variables_live_on_and_what_is_printed_is_compared(tmp_path: Path, reader: Reader) -> None:
    page = page_of(
        tmp_path,
        "sh: name=cat; echo picture > $name.txt",
        'bash: echo "$WHO sees a $name at http://127.0.0.1:8000/v1"; echo 12.34 s >&2',
        "text: reader sees a cat at http://127.0.0.1:8000/v1\n... s",
        "python: import os\nfrom pathlib import Path\nseen = Path('cat.txt').read_text()",
        "python: print(os.environ['WHO'], 'sees a', seen)",
        'json: reader sees a picture',
        'sh: test "http://127.0.0.1:8000" = http://127.0.0.1:8""000 || echo replaced',
        "text: replaced",
        "sh: echo 0.674 of 'a.b'; echo 12.0 s",
        "text: 0....of a.b\n12... s",
        'rust: panic!("is not looked at")',
    )  # fmt: skip
    assert run_page(page, reader) == 6


@pytest.mark.parametrize(
    ("blocks", "says"),
    [
        (("sh: echo dog", "text: cat"), "-cat\n+dog"),
        (("python: print('dog')", "text: a ... cat"), "-a ... cat\n+dog"),
        (("sh: echo 05", "text: 0...."), "-0....\n+05"),
        (("sh: echo aXb", "text: a.b"), "-a.b\n+aXb"),
        (("sh: echo before; false; echo after",), "exit code 1:\nbefore\n"),
        (("sh: false | true",), "exit code 1"),
        (("sh: echo $missing",), "unbound variable"),
        (("sh: exit 3",), "exit code 3"),
        (("python: assert 1 == 2, 'not the same'",), "not the same"),
        (("text: out of nothing",), "Nothing ran right before"),
        (("sh: echo once", "text: once", "text: once"), "Nothing ran right before"),
        (("<!-- not run: -->",), "say why"),
    ],
)
def test_what_is_wrong_is_told(tmp_path: Path, reader: Reader, blocks: tuple[str, ...], says: str) -> None:
    with pytest.raises(SybilFailure) as failed:
        run_page(page_of(tmp_path, *blocks), reader)
    assert says in str(failed.value)
    assert "page.md, line" in str(failed.value)


def test_errors_of_python_name_the_pages_line(tmp_path: Path, reader: Reader) -> None:
    page = page_of(tmp_path, "python: value = 1\nvalue / 0")
    with pytest.raises(ZeroDivisionError) as failed:
        run_page(page, reader)
    line = page.read_text("utf-8").split("\n").index("value / 0") + 1
    assert failed.traceback[-1].path == page
    assert failed.traceback[-1].lineno + 1 == line


def test_what_is_not_to_run_does_not_nor_is_its_output_compared(tmp_path: Path, reader: Reader) -> None:
    page = page_of(
        tmp_path,
        "<!-- not run: it takes a cluster -->",
        "sh: touch ran",
        "text: a page of words",
        "sh: echo unwanted > ran",
        "text: more words",
        "<!-- not run: it is an example -->",
        "text: what a log may say",
        "sh: echo wanted",
        "text: wanted",
    )
    assert run_page(page, reader, lambda source: "unwanted" not in source) == 1
    assert not (tmp_path / "ran").exists()


def test_closing_ends_what_a_page_has_started(tmp_path: Path, reader: Reader) -> None:
    run_page(page_of(tmp_path, "sh: sleep 1000 &\necho $! > pid"), reader)
    started = psutil.Process(int((tmp_path / "pid").read_text()))
    reader.close()
    deadline = time.monotonic() + 30
    with contextlib.suppress(psutil.NoSuchProcess):
        # One that ended and that nobody has waited for stays, where the first process waits for none.
        while started.status() != psutil.STATUS_ZOMBIE:
            assert time.monotonic() < deadline
            time.sleep(0.02)
