"""The tour's search: index every sample and some sentences, then find them across modalities."""

from __future__ import annotations

import time
from typing import Any

from rich.console import Console

from deploy.demo.library import Library
from deploy.demo.report import Step, duration, print_fact
from deploy.demo.script import COLLECTION, SENTENCES, Find
from deploy.errors import TourFailed
from serving.cli.client import Server
from serving.cli.plain import plain
from serving.cli.search import matched_times

__all__ = ["find", "index_all"]

_SHOWN_HITS = 3


def index_all(server: Server, library: Library, console: Console) -> tuple[Step, int]:
    """Index all samples and sentences under fixed ids, so that a second tour replaces them.

    Returns the step and the version of the collection that holds everything.
    """
    documents: list[dict[str, Any]] = [
        {
            "id": _document_id(name),
            "media_id": library.media_id(name),
            "metadata": {"filename": library.file(name).name},
        }
        for name in library.names
    ]
    documents += [{"id": _sentence_id(name), "text": text} for name, text in SENTENCES.items()]
    started = time.perf_counter()
    versions, parts = [], 0
    for document in documents:
        with server.translating():
            added = server.api.documents.add(COLLECTION, **document)
        versions.append(added.version)
        parts += added.parts
    seconds = time.perf_counter() - started
    print_fact(
        console,
        "indexed",
        f"{len(library.names)} media and {len(SENTENCES)} sentences, {parts} parts, in {duration(seconds)}",
    )
    step = Step(
        f"Index {len(documents)} documents", seconds, {"documents_per_second": len(documents) / seconds}
    )
    return step, max(versions)


def find(server: Server, library: Library, wanted: Find, version: int, console: Console) -> Step:
    """Search, print the best hits, check the first. Raises ``TourFailed``."""
    if wanted.picture:
        query = {"type": "image", "content": library.media_id(wanted.picture)}
        asked = library.file(wanted.picture).name
    else:
        query = {"type": "text", "content": wanted.words}
        asked = f'"{wanted.words}"'
    print_fact(console, "sent", f"{asked}, looking for {wanted.modality}")
    started = time.perf_counter()
    with server.translating():
        answer = server.api.search(
            query,
            search_modalities=[wanted.modality],
            top_k=_SHOWN_HITS,
            collection=COLLECTION,
            min_version=version,
        )
    hits = plain(answer)["results"]
    seconds = time.perf_counter() - started
    for hit in hits:
        print_fact(console, "found", _described(hit))
    print_fact(console, "took", duration(seconds))
    _check(wanted, library, hits)
    return Step(wanted.title, seconds)


def _check(wanted: Find, library: Library, hits: list[dict[str, Any]]) -> None:
    expected = _sentence_id(wanted.finds) if wanted.modality == "text" else _document_id(wanted.finds)
    query = wanted.words or f"the picture '{wanted.picture}'"
    first = hits[0]["id"] if hits else "nothing"
    if first != expected:
        raise TourFailed(f"Looking for {query} must find {expected} first, but found {first}.")
    if not wanted.while_shown:
        return
    stretch = library.samples.stretch(wanted.while_shown)
    times = matched_times(hits[0])
    if not times or not stretch.start_seconds <= times[0][0] < stretch.end_seconds:
        at = f"at {times[0][0]:.1f} s" if times else "at no time"
        raise TourFailed(
            f"Looking for '{wanted.words}' must match the video between {stretch.start_seconds:.0f} and "
            f"{stretch.end_seconds:.0f} s, where it is shown, but matched {at}."
        )


def _described(hit: dict[str, Any]) -> str:
    name = hit.get("text") or (hit.get("metadata") or {}).get("filename") or hit["id"]
    line = f"{hit['similarity_score']:.3f}  {name}"
    matches = [match for match in hit.get("matches", ()) if match.get("start_seconds") is not None]
    if matches:
        best = matches[0]
        line += f" at {best['start_seconds']:.1f} s to {best['end_seconds']:.1f} s ({best['text']})"
    return line


def _document_id(name: str) -> str:
    return f"demo-{name}"


def _sentence_id(name: str) -> str:
    return f"demo-sentence-{name}"
