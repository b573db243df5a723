"""``manymodal index``: make files, folders and lists searchable."""

from __future__ import annotations

import json
import time
from collections import Counter
from pathlib import Path
from typing import Annotated, Any

import typer

from serving.cli.failures import UnusableInput
from serving.cli.messages import harmless, print_line
from serving.cli.options import (
    DEFAULT_URL,
    ApiKey,
    AsJson,
    Collection,
    Duplicates,
    MinSide,
    Ocr,
    Report,
    Url,
    connected,
)

__all__ = ["index"]

_IN_COLLECTION = frozenset({"unchanged", "duplicate"})
_SHOWN_FAILURES = 20


def index(
    paths: Annotated[
        list[Path],
        typer.Argument(
            metavar="PATH...",
            help="Files, folders with all below them, and lists (.csv, .jsonl, .parquet, a .txt of addresses).",
        ),
    ],
    collection: Collection = "default",
    url: Url = DEFAULT_URL,
    api_key: ApiKey = None,
    ocr: Ocr = "auto",
    min_side: MinSide = 0,
    duplicates: Duplicates = "skip",
    concurrency: Annotated[int, typer.Option(min=1, max=64, help="How many batches to send at once.")] = 4,
    resume: Annotated[
        bool, typer.Option("--resume", help="Leave out what a run before this has sent (see --journal).")
    ] = False,
    journal: Annotated[
        Path | None, typer.Option(help="Remember here what was sent; --resume alone has a place of its own.")
    ] = None,
    report: Report = None,
    as_json: AsJson = False,
) -> None:
    """Make pictures, recordings, videos and texts searchable. What was indexed before is replaced if it changed.

    Of folders, media and text files (.txt, .md) are taken, hidden ones not. A list has a column path, url, file_id
    or text; other columns are metadata. --json prints a line per file, and lastly the statistics. The exit code is
    1 when something failed; the others are done all the same.
    """
    if ocr not in ("auto", "on", "off") or duplicates not in ("skip", "index"):
        raise typer.BadParameter("--ocr is auto, on or off; --duplicates is skip or index.")
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    from serving.cli.index_journal import Journal, default_journal
    from serving.cli.index_sender import Sender
    from serving.cli.index_sources import sources_of

    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]:.1f}/s"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    outcome = _Outcome(console, as_json)
    options = {"ocr": ocr, "min_side": min_side, "on_duplicate": duplicates}
    with connected(url, api_key) as server:
        total = sum(1 for _ in sources_of(paths))
        if not total:
            raise UnusableInput(
                "No media or text files were found there; name a file to index it whatever it is."
            )
        place = journal or (default_journal(server.url, collection) if resume else None)
        began = time.monotonic()
        with (
            Journal(place) as done,
            _lines(report) as write,
            Progress(*columns, console=console, disable=not console.is_terminal) as progress,
        ):
            task = progress.add_task("indexing", total=total, rate=0.0)
            left = []

            def wanted() -> Any:
                for source in sources_of(paths):
                    if done.has(source):
                        left.append(source)
                    else:
                        yield source

            for batch in Sender(server, collection, options, concurrency).send(wanted()):
                for one in batch:
                    line = outcome.add(one)
                    if one.status != "indexed":
                        write(line)
                done.note((one.source, one.stamp) for one in batch if one.status != "failed")
                seconds = time.monotonic() - began
                counts = outcome.counts
                progress.update(
                    task,
                    completed=outcome.processed + len(left),
                    rate=outcome.processed / seconds if seconds else 0.0,
                    description=f"indexing ({counts['skipped']} skipped, {counts['failed']} failed)",
                )
            progress.update(task, completed=outcome.processed + len(left))
        outcome.finish(collection, total, len(left), time.monotonic() - began)
    if outcome.counts["failed"]:
        raise typer.Exit(1)


class _Outcome:
    """Counts what became of things, and says so."""

    def __init__(self, console: Any, as_json: bool) -> None:
        self._console = console
        self._as_json = as_json
        self._shown = 0
        self.counts: Counter[str] = Counter()
        self._inside = 0

    @property
    def processed(self) -> int:
        """How many have ended."""
        return sum(self.counts.values())

    def add(self, sent: Any) -> dict[str, Any]:
        """One more; its line of JSON."""
        self.counts[sent.status] += 1
        self._inside += sent.status == "indexed" or sent.code in _IN_COLLECTION
        line: dict[str, Any] = {"path": sent.source.name, "id": sent.source.id, "status": sent.status}
        if sent.answer is not None:
            line |= {"parts": sent.answer.get("parts"), "media_id": sent.answer.get("media_id")}
        if sent.message is not None:
            line |= {"code": sent.code, "error" if sent.status == "failed" else "reason": sent.message}
        if self._as_json:
            print_line(line)
        elif sent.status == "failed":
            self._shown += 1
            if self._shown <= _SHOWN_FAILURES:
                self._say(f"{sent.source.name}: {sent.message}")
            elif self._shown == _SHOWN_FAILURES + 1:
                self._say("There are more failures; --report FILE lists them all.")
        return line

    def finish(self, collection: str, total: int, left_out: int, seconds: float) -> None:
        """Say how it went."""
        from serving.ingest.statistics import IngestStatistics

        counts = self.counts
        counted = IngestStatistics(counts["indexed"], counts["skipped"], counts["failed"])
        if self._as_json:
            statistics = {**counted.final(seconds), "left_out": left_out}
            typer.echo(json.dumps({"statistics": statistics}))
            return
        words = [f"{self._inside + left_out} of {total} files are in the collection '{collection}'."]
        if left_out:
            words.append(f"{left_out} were sent before.")
        if counts["skipped"] or counts["failed"]:
            words.append(f"{counts['skipped']} skipped, {counts['failed']} failed.")
        typer.echo(" ".join(words))

    def _say(self, text: str) -> None:
        self._console.print(harmless(text), style="red", markup=False, highlight=False, soft_wrap=True)


class _lines:  # noqa: N801 - reads as a word: ``with _lines(path) as write``
    """A file of JSON lines, or nothing."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._file: Any = None

    def __enter__(self) -> Any:
        if self._path is None:
            return lambda line: None
        try:
            self._file = self._path.open("w", encoding="utf-8")
        except OSError as error:
            raise UnusableInput(f"'{self._path}' cannot be written: {error.strerror or error}.") from None
        return lambda line: self._file.write(json.dumps(line, ensure_ascii=False) + "\n")

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._file.close()
