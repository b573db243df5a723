"""Tables on local files and on S3: made once, written by many, dropped for good."""

from __future__ import annotations

import logging
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from s3_server import S3Server, free_ports
from search_tables import SPEC, contents, created, opened, rows

from search.config import SearchConfig
from search.errors import CollectionNotFound, SearchUnavailable
from search.location import SearchLocation, TableLocation
from search.table import RowTable, new_session
from search.types import CollectionSpec, IndexSpec, SpaceSpec

THREADS = 6


@pytest.fixture
def location(config: SearchConfig) -> SearchLocation:
    return SearchLocation(config)


@pytest.fixture
def place(location: SearchLocation) -> TableLocation:
    return location.table("t", "things")


def test_what_a_table_is_made_with_is_read_back(place: TableLocation) -> None:
    assert opened(place) is None
    spec = CollectionSpec(
        (SpaceSpec("default", 4, "clip@1"), SpaceSpec("text", 8)), IndexSpec("ivf", "int8", 2)
    )
    made = RowTable.create(place, spec, new_session(), 12.5)
    table = opened(place)
    assert table is not None
    assert (table.spec, table.uid, table.created_at_seconds) == (spec, made.uid, 12.5)
    assert (table.tenant, table.name) == ("t", "things")
    assert contents(table) == []
    assert table.media_ids() == frozenset()
    assert [tuple(one) for one in table.state().match_text("anything", 5)] == [(), ()]


def test_racing_creators_share_the_table_of_the_first(location: SearchLocation) -> None:
    barrier = threading.Barrier(THREADS)
    specs = [CollectionSpec(SPEC.spaces, IndexSpec(dimensions=1 + number % 3)) for number in range(THREADS)]

    def work(place: TableLocation, number: int) -> tuple[str, CollectionSpec]:
        barrier.wait(timeout=30)
        table = RowTable.create(place, specs[number], new_session(), 0.0)
        table.replace(rows((f"d{number}", 1)), [f"d{number}"])
        return table.uid, table.spec

    with ThreadPoolExecutor(THREADS) as pool:
        for attempt in range(8):
            place = location.table("t", f"c{attempt}")
            told = {
                done.result(timeout=60)
                for done in [pool.submit(work, place, number) for number in range(THREADS)]
            }
            assert len(told) == 1
            assert len(contents(created(place))) == THREADS


def test_racing_creators_after_a_drop(location: SearchLocation) -> None:
    barrier = threading.Barrier(THREADS)

    def work(place: TableLocation, number: int) -> str:
        barrier.wait(timeout=30)
        table = created(place)
        table.replace(rows((f"d{number}", 1)), [f"d{number}"])
        return table.uid

    with ThreadPoolExecutor(THREADS) as pool:
        for attempt in range(4):
            place = location.table("t", f"c{attempt}")
            old = created(place)
            old.replace(rows(("old", 1)), ["old"])
            assert old.drop()
            uids = {
                done.result(timeout=60)
                for done in [pool.submit(work, place, number) for number in range(THREADS)]
            }
            assert len(uids) == 1
            assert old.uid not in uids
            assert [name for name, _, _ in contents(created(place))] == [f"d{n}" for n in range(THREADS)]


def test_writers_with_handles_of_their_own_neither_lose_nor_double(place: TableLocation) -> None:
    """Each round all of them bring the same new document at the same moment, and one of their own."""
    created(place)
    barrier = threading.Barrier(THREADS)
    rounds = 10

    def write(who: int) -> set[str]:
        table = created(place)
        mine = set()
        for number in range(rounds):
            own, shared = f"{who}-{number}", f"shared{number}"
            barrier.wait(timeout=60)
            table.replace(rows((own, 2), (shared, 1 + who), text=str(who)), [own, shared])
            mine.add(own)
            if number % 4 == 3:
                table.delete(f"{who}-{number - 1}")
                mine.discard(f"{who}-{number - 1}")
        return mine

    with ThreadPoolExecutor(THREADS) as pool:
        writers = [pool.submit(write, who) for who in range(THREADS)]
        kept = set().union(*(done.result(timeout=100) for done in writers))
    found = contents(created(place))
    assert len({(name, part) for name, part, _ in found}) == len(found)
    assert {name for name, _, _ in found if "-" in name} == kept
    for number in range(rounds):  # each shared document is one writer's, whole
        parts = [(part, text) for name, part, text in found if name == f"shared{number}"]
        (writer,) = {text for _, text in parts}
        assert [part for part, _ in parts] == list(range(1 + int(writer)))


def test_a_dropped_table_answers_nobody(place: TableLocation) -> None:
    table = created(place)
    reader = created(place)
    version = table.replace(rows(("a", 1), text="swordfish"), ["a"])
    assert table.drop()
    assert not table.drop()
    assert opened(place) is None
    for use in (
        table.state,
        reader.state,
        reader.media_ids,
        reader.maintain,
        reader.vacuum,
        lambda: reader.replace(rows(("b", 1)), ["b"]),
        lambda: reader.delete("a"),
        lambda: reader.delete_media(["m"]),
    ):
        with pytest.raises(CollectionNotFound):
            use()
    again = created(place)
    assert again.uid != table.uid
    assert again.latest_version() > version
    assert contents(again) == []
    with pytest.raises(CollectionNotFound):  # the name is taken again, by another collection
        reader.replace(rows(("b", 1)), ["b"])
    assert not reader.drop()
    again.replace(rows(("c", 1)), ["c"])
    assert [name for name, _, _ in contents(again)] == ["c"]


def test_a_dropped_tables_rows_are_gone_from_the_disk(
    config: SearchConfig, place: TableLocation, request: pytest.FixtureRequest
) -> None:
    table = created(place)
    for number in range(3):
        table.replace(rows((f"d{number}", 1), text="swordfish"), [f"d{number}"])
    assert table.drop()
    if config.s3 is None:
        left = [path for path in Path(place.uri).rglob("*") if path.is_file()]
        assert left
        assert not any(b"swordfish" in path.read_bytes() for path in left)
    else:
        server: S3Server = request.getfixturevalue("s3_server")
        client = server.client()
        prefix = f"{config.s3.prefix}collections/t/things.lance/"
        left = client.list_objects_v2(Bucket=config.s3.bucket, Prefix=prefix)["Contents"]
        bodies = [
            client.get_object(Bucket=config.s3.bucket, Key=entry["Key"])["Body"].read() for entry in left
        ]
        client.close()
        assert bodies
        assert not any(b"swordfish" in body for body in bodies)


def test_a_drop_that_races_with_adds_takes_all_or_comes_first(location: SearchLocation) -> None:
    for attempt in range(4):
        place = location.table("t", f"c{attempt}")
        created(place)
        stop = threading.Event()

        def write(place: TableLocation = place, stop: threading.Event = stop) -> None:
            table = created(place)
            for number in range(200):
                if stop.is_set():
                    return
                try:
                    table.replace(rows((f"d{number}", 1)), [f"d{number}"])
                except CollectionNotFound:
                    return

        with ThreadPoolExecutor(2) as pool:
            writers = [pool.submit(write) for _ in range(2)]
            assert created(place).drop()
            stop.set()
            for writer in writers:
                writer.result(timeout=60)
        table = opened(place)  # a writer may have come after the drop and made it anew
        if table is not None:
            names = [name for name, _, _ in contents(table)]
            assert len(set(names)) == len(names)


def test_tenants_and_tables_are_listed(location: SearchLocation) -> None:
    assert location.tenants() == ()
    assert location.tables("a") == ()
    location.check()
    for tenant, name in (("a", "x"), ("a", "y.z"), ("b@c", "x-1"), ("b", "x")):
        created(location.table(tenant, name)).replace(rows(("d", 1)), ["d"])
    assert location.tenants() == ("a", "b", "b@c")
    assert [place.name for place in location.tables("a")] == ["x", "y.z"]
    assert [place.name for place in location.tables("b@c")] == ["x-1"]
    assert [len(contents(created(place))) for place in location.tables("b@c")] == [1]


def test_many_tables_are_listed_over_pages(s3_server: S3Server, tmp_path: Path) -> None:
    s3 = s3_server.config
    client = s3_server.client()
    for number in range(1005):
        key = f"{s3.prefix}collections/t/c{number:04}.lance/_versions/1.manifest"
        client.put_object(Bucket=s3.bucket, Key=key, Body=b"")
    client.close()
    location = SearchLocation(SearchConfig(tmp_path, s3=s3))
    assert [place.name for place in location.tables("t")] == [f"c{number:04}" for number in range(1005)]


def test_words_are_found_before_and_after_they_are_indexed(
    place: TableLocation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("search.maintenance._UNINDEXED_ROWS", 1)
    table = created(place)

    def found(text: str) -> list[str]:
        state = table.state()
        addresses, scores = state.match_text(text, 10)
        assert sorted(scores, reverse=True) == list(scores)
        assert len(addresses) == len(scores)
        return state.take(addresses, ["document_id"]).column("document_id").to_pylist()

    for number, text in enumerate(("Ein rotes Auto im Café", "a red car", "blue boat")):
        table.replace(rows((f"d{number}", 1), text=text), [f"d{number}"])
    for _ in range(2):
        assert found("red car") == ["d1"]
        assert found("CAFE") == ["d0"]
        assert found("boat auto") == ["d2", "d0"]
        assert found("nothing like it") == []
        table.maintain()
        assert all(index.num_rows_indexed == 4 for index in table.state()._dataset.describe_indices())
    table.replace(rows(("d3", 1), text="red boat"), ["d3"])
    table.replace(rows(("d1", 1), text="green car"), ["d1"])
    table.delete("d2")
    for _ in range(2):
        assert found("red") == ["d3"]
        assert found("car") == ["d1"]
        assert found("boat") == ["d3"]
        table.maintain()
    for number in range(4, 50):  # compaction moves rows that are indexed
        table.replace(rows((f"d{number}", 1), text=f"number{number} red"), [f"d{number}"])
        if number % 15 == 0:
            table.maintain()
    assert found("number31") == ["d31"]
    assert found("boat") == ["d3"]
    assert len(found("red")) == 10
    table.vacuum()
    assert found("number31") == ["d31"]
    assert table.delete("d31") > 0
    assert found("number31") == []


def test_the_secret_key_is_in_no_text(
    s3_server: S3Server, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    s3 = s3_server.config
    assert s3.secret_access_key is not None
    wrong = replace(s3, endpoint_url=f"http://127.0.0.1:{free_ports(1)[0]}", max_attempts=1)
    with caplog.at_level(logging.DEBUG):
        for config in (wrong, replace(s3, bucket="missing"), replace(s3, access_key_id="nobody")):
            location = SearchLocation(SearchConfig(tmp_path, s3=config))
            place = location.table("t", "things")
            assert s3.secret_access_key not in repr((config, location, place))
            with pytest.raises(SearchUnavailable) as caught:
                created(place)
            assert s3.secret_access_key not in str(caught.value) + repr(caught.value.__cause__)
            assert "127.0.0.1" not in caught.value.message
            with pytest.raises(SearchUnavailable):
                location.check()
    assert s3.secret_access_key not in caplog.text
