"""``manymodal collections``: what is searchable, and what belongs together in it."""

from __future__ import annotations

import sys
from enum import StrEnum
from itertools import islice
from typing import Annotated, Any

import typer

from serving.cli.completion import complete_collection
from serving.cli.failures import UnusableInput
from serving.cli.messages import note, print_json, print_table
from serving.cli.options import DEFAULT_URL, ApiKey, AsJson, Url, connected
from serving.cli.plain import plain

__all__ = ["collections_app"]

collections_app = typer.Typer(
    help="Collections: what is searchable, aliases, near-duplicates, clusters.", no_args_is_help=True
)

_PAGE = 100

Name = Annotated[
    str,
    typer.Argument(metavar="COLLECTION", help="Its name, or an alias.", autocompletion=complete_collection),
]
Document = Annotated[str, typer.Argument(metavar="DOCUMENT", help="A document's id.")]


class IndexKind(StrEnum):
    """Kinds of vector indexes."""

    AUTO = "auto"
    FLAT = "flat"
    HNSW = "hnsw"
    IVF = "ivf"
    IVF_PQ = "ivf_pq"


class VectorStorage(StrEnum):
    """How vectors are held in memory."""

    FLOAT32 = "float32"
    INT8 = "int8"
    BINARY = "binary"


@collections_app.command("ls")
def list_collections(url: Url = DEFAULT_URL, api_key: ApiKey = None, as_json: AsJson = False) -> None:
    """List the collections."""
    with connected(url, api_key) as server, server.translating():
        found = plain(server.api.collections.list())["data"]
    if as_json:
        print_json(found)
        return
    rows = [
        (
            one["name"],
            one["documents"],
            _kinds(one),
            ", ".join(one.get("aliases") or ()),
        )
        for one in found
    ]
    print_table(("Collection", "Documents", "Of them", "Also called"), rows, whole=2)


@collections_app.command("show")
def show_collection(
    collection: Name, url: Url = DEFAULT_URL, api_key: ApiKey = None, as_json: AsJson = False
) -> None:
    """What is known of a collection: documents by kind, vector spaces, index, aliases."""
    with connected(url, api_key) as server, server.translating():
        found = plain(server.api.collections.get(collection))
    if as_json:
        print_json(found)
        return
    spaces = ", ".join(
        f"{one['name']} ({one['dimensions']} numbers, {one['model'] or 'own'})" for one in found["spaces"]
    )
    kinds = _kinds(found)
    index = found["index"]
    print_table(
        ("What", "Value"),
        [
            ("name", found["name"]),
            ("documents", f"{found['documents']}{f': {kinds}' if kinds else ''}"),
            ("rows", found["rows"]),
            ("spaces", spaces),
            ("index", f"{index['kind']}, {index['storage']}"),
            ("aliases", ", ".join(found["aliases"])),
            ("version", found["version"]),
        ],
    )


@collections_app.command("create")
def create_collection(
    name: Annotated[str, typer.Argument(metavar="COLLECTION", help="Its name.")],
    kind: Annotated[IndexKind, typer.Option(help="The kind of index; auto goes by size.")] = IndexKind.AUTO,
    storage: Annotated[
        VectorStorage, typer.Option(help="How vectors are held in memory.")
    ] = VectorStorage.FLOAT32,
    url: Url = DEFAULT_URL,
    api_key: ApiKey = None,
    as_json: AsJson = False,
) -> None:
    """Make a collection. `index` makes one as well, with the platform's settings."""
    index = {"kind": kind.value, "storage": storage.value}
    with connected(url, api_key) as server, server.translating():
        made = plain(server.api.collections.create(name, index=index))
    if as_json:
        print_json(made)
    else:
        note(f"The collection '{made['name']}' is there.")


@collections_app.command("rm")
def remove_collection(
    collection: Annotated[
        str,
        typer.Argument(
            metavar="COLLECTION", help="Its name (not an alias).", autocompletion=complete_collection
        ),
    ],
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    url: Url = DEFAULT_URL,
    api_key: ApiKey = None,
    as_json: AsJson = False,
) -> None:
    """Delete a collection with its documents, indexes and aliases. Media stay."""
    if not yes:
        if not sys.stdin.isatty():
            raise UnusableInput("Nobody is there to be asked: give --yes to delete the collection.")
        typer.confirm(f"Delete the collection '{collection}' with all its documents?", abort=True, err=True)
    with connected(url, api_key) as server, server.translating():
        gone = plain(server.api.collections.delete(collection))
    if as_json:
        print_json(gone)
    else:
        note(f"The collection '{collection}' is gone.")


@collections_app.command("alias")
def set_alias(
    alias: Annotated[str, typer.Argument(metavar="ALIAS", help="The second name.")],
    collection: Name,
    url: Url = DEFAULT_URL,
    api_key: ApiKey = None,
    as_json: AsJson = False,
) -> None:
    """Let a second name mean this collection from now on, whatever it meant before."""
    with connected(url, api_key) as server, server.translating():
        made = plain(server.api.collections.point_alias(collection, alias))
    if as_json:
        print_json(made)
    else:
        note(f"'{alias}' means '{made['collection']}' now.")


@collections_app.command("unalias")
def remove_alias(
    alias: Annotated[str, typer.Argument(metavar="ALIAS", help="The second name.")],
    collection: Name,
    url: Url = DEFAULT_URL,
    api_key: ApiKey = None,
    as_json: AsJson = False,
) -> None:
    """Take a second name away."""
    with connected(url, api_key) as server, server.translating():
        gone = plain(server.api.collections.delete_alias(collection, alias))
    if as_json:
        print_json(gone)
    else:
        note(f"'{alias}' means nothing now.")


@collections_app.command("documents")
def list_documents(
    collection: Name,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, help="How many, in order of their ids.")] = 20,
    after: Annotated[str | None, typer.Option(metavar="DOCUMENT", help="Those behind this id.")] = None,
    url: Url = DEFAULT_URL,
    api_key: ApiKey = None,
    as_json: AsJson = False,
) -> None:
    """List what is in a collection."""
    wanted: dict[str, Any] = {"include": ["metadata"], "limit": min(limit, _PAGE), "after": after}
    with connected(url, api_key) as server, server.translating():
        found = [plain(one) for one in islice(server.api.documents.list(collection, **wanted), limit)]
    if as_json:
        print_json(found)
    else:
        print_table(("Id", "Kind", "What"), [(one["id"], one["type"], _what(one)) for one in found], whole=2)


@collections_app.command("forget")
def forget_document(
    collection: Name,
    document: Document,
    url: Url = DEFAULT_URL,
    api_key: ApiKey = None,
    as_json: AsJson = False,
) -> None:
    """Take a document out of a collection. The medium it was made of stays."""
    with connected(url, api_key) as server, server.translating():
        gone = plain(server.api.documents.delete(collection, document))
    if as_json:
        print_json(gone)
    else:
        note(f"'{document}' is no longer in '{collection}'.")


@collections_app.command("near-duplicates")
def near_duplicates(
    collection: Name,
    document: Document,
    threshold: Annotated[float, typer.Option(min=0.0, max=1.0, help="How much alike, at least.")] = 0.95,
    url: Url = DEFAULT_URL,
    api_key: ApiKey = None,
    as_json: AsJson = False,
) -> None:
    """List what is all but the same as a document."""
    with connected(url, api_key) as server, server.translating():
        found = plain(server.api.documents.near_duplicates(collection, document, threshold=threshold))
    if as_json:
        print_json(found)
        return
    rows = [
        (f"{one['similarity_score']:.3f}", one["id"], "yes" if one.get("same_content") else "no", _what(one))
        for one in found["data"]
    ]
    if rows:
        print_table(("Score", "Id", "Same bytes", "What"), rows, whole=2)
    else:
        note("Nothing else is that much alike.")


@collections_app.command("clusters")
def clusters(
    collection: Name,
    count: Annotated[
        int, typer.Option("--count", "-n", min=1, max=1000, help="How many groups, at most.")
    ] = 10,
    url: Url = DEFAULT_URL,
    api_key: ApiKey = None,
    as_json: AsJson = False,
) -> None:
    """Group a collection's documents by what they are about; each group with some that are typical of it."""
    with connected(url, api_key) as server, server.translating():
        found = plain(server.api.collections.clusters(collection, count, include=["metadata"]))
    if as_json:
        print_json(found)
        return
    rows = [
        (
            one["size"],
            f"{one['mean_similarity']:.2f}",
            ", ".join(_what(document) for document in one["representatives"]),
        )
        for one in found["data"]
    ]
    print_table(("Size", "Alike", "Typical"), rows, whole=2)


def _kinds(collection: dict[str, Any]) -> str:
    return ", ".join(f"{count} {kind}" for kind, count in (collection.get("modalities") or {}).items())


def _what(document: dict[str, Any]) -> str:
    metadata = document.get("metadata") or {}
    return str(document.get("text") or metadata.get("path") or metadata.get("filename") or document["id"])
