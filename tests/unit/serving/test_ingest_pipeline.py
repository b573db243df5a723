"""The stages of ingest: bounded, separate, patient with strangers' servers."""

from __future__ import annotations

import asyncio
import http.server
import io
import random
import threading
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from fake_platform import Platform, build_platform
from fake_services import fake_png
from hypothesis import given
from hypothesis import strategies as st
from served_models import served_models

from encoders.errors import EncoderError, EncoderOverloaded
from encoders.types import Embeddings
from search.errors import InvalidQuery, SearchUnavailable
from search.types import Row
from serving.config import ChatModel, GatewayConfig
from serving.ingest.channel import Channel
from serving.ingest.config import IngestConfig
from serving.ingest.items import IngestOptions, Item, Outcome
from serving.ingest.progress import Progress
from serving.ingest.retries import ServiceTrouble
from serving.ingest.statistics import IngestStatistics

FAST = IngestConfig(
    first_delay_seconds=0.001, max_delay_seconds=0.002, commit_wait_seconds=0.02, group_items=8
)


class FlakyServer:
    """A web server that is told how often to fail before each path is delivered. ``/missing`` never is."""

    def __init__(self) -> None:
        self.failures: Counter[str] = Counter()
        self.asked: Counter[str] = Counter()
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.asked[self.path] += 1
                status = 200
                if outer.failures[self.path] > 0:
                    outer.failures[self.path] -= 1
                    status = 503
                if self.path == "/missing":
                    status = 404
                body = fake_png({self.path.strip("/"): 0.9})
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.fixture
def server() -> Iterator[FlakyServer]:
    server = FlakyServer()
    yield server
    server.close()


@pytest.fixture
def platform(tmp_path: Path) -> Platform:
    return platform_with(tmp_path, FAST)


def platform_with(folder: Path, settings: IngestConfig) -> Platform:
    config = GatewayConfig(
        ChatModel("m", 2048, None),
        *served_models(),
        cache_secret=bytes(16),
        allow_private_urls=True,
        ingest=settings,
    )
    return build_platform(folder, config)


async def ingested(platform: Platform, items: Sequence[Item]) -> dict[int, Outcome]:
    outcomes: list[Outcome] = []

    async def feed() -> AsyncIterator[Item]:
        for item in items:
            yield item

    async def report(ended: Sequence[Outcome]) -> None:
        outcomes.extend(ended)

    ingester = platform.gateway.ingest._ingester
    await ingester.run("default", "c", feed(), IngestOptions(), report)
    assert len({one.number for one in outcomes}) == len(outcomes)
    return {one.number: one for one in outcomes}


async def test_flaky_servers_are_asked_again(platform: Platform, server: FlakyServer) -> None:
    server.failures.update({"/a": 3, "/b": 0, "/hopeless": 99})
    paths = ("a", "b", "hopeless", "missing")
    ended = await ingested(platform, [Item(n, url=f"{server.url}/{path}") for n, path in enumerate(paths)])
    assert [ended[n].status for n in range(4)] == ["indexed", "indexed", "failed", "failed"]
    assert {ended[n].code for n in (2, 3)} == {"media_fetch_failed"}
    assert (server.asked["/a"], server.asked["/missing"]) == (4, 1)
    assert server.asked["/hopeless"] == FAST.attempts


async def test_many_rows_are_written_by_one_commit(
    platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []
    search = platform.gateway.services.search
    add = search.add

    async def noted(tenant: str, collection: str, rows: tuple[Row, ...]) -> int:
        sizes.append(len(rows))
        return await add(tenant, collection, rows)

    monkeypatch.setattr(search, "add", noted)
    ended = await ingested(platform, [Item(n, text=f"word{n}", document_id=f"t{n}") for n in range(200)])
    assert {one.status for one in ended.values()} == {"indexed"}
    assert sum(sizes) == 200
    assert len(sizes) <= 20


async def test_one_bad_row_does_not_take_the_others_along(
    platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    search = platform.gateway.services.search
    add = search.add

    async def picky(tenant: str, collection: str, rows: tuple[Row, ...]) -> int:
        if any(row.document_id == "t3" for row in rows):
            raise InvalidQuery("This row is no good.")
        return await add(tenant, collection, rows)

    monkeypatch.setattr(search, "add", picky)
    ended = await ingested(platform, [Item(n, text=f"word{n}", document_id=f"t{n}") for n in range(8)])
    assert {n for n, one in ended.items() if one.status == "failed"} == {3}
    assert ended[3].message == "This row is no good."


async def test_a_search_that_stays_away_stops_the_run(
    platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries = 0

    async def away(tenant: str, collection: str, rows: tuple[Row, ...]) -> int:
        nonlocal tries
        tries += 1
        raise SearchUnavailable("Search is away.")

    monkeypatch.setattr(platform.gateway.services.search, "add", away)
    with pytest.raises(ServiceTrouble, match="Search is away"):
        await ingested(platform, [Item(0, text="word")])
    assert tries == FAST.attempts


async def test_only_what_was_refused_is_looked_at_again(
    platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    perception = platform.perception
    look = perception.look
    asked: list[int] = []

    async def busy(media, quality, min_side=0):
        asked.append(len(media))
        answers = list(await look(media, quality, min_side))
        if len(asked) == 1:
            answers[1:] = [EncoderOverloaded("Busy.")] * (len(answers) - 1)
        return tuple(answers)

    monkeypatch.setattr(perception, "look", busy)
    media = [
        platform.media.receive("default", io.BytesIO(fake_png({f"x{n}": 1.0})), "image/png", 9999)
        for n in range(4)
    ]
    for ref in media:
        platform.media.commit(ref, filename=None)
    items = [Item(n, file_id=ref.id) for n, ref in enumerate(media)]
    outcomes = await platform.gateway.ingest.batch("default", "c", items, IngestOptions())
    assert [one.status for one in outcomes] == ["indexed"] * 4
    assert asked == [4, 3]


async def test_a_slow_server_holds_up_no_encoder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With two fetching at once, a hundred texts pass one address that never answers."""
    platform = platform_with(tmp_path, replace(FAST, fetch_concurrency=2))
    ingester = platform.gateway.ingest._ingester
    outcomes: list[Outcome] = []
    stuck, all_texts = asyncio.Event(), asyncio.Event()

    async def feed() -> AsyncIterator[Item]:
        yield Item(0, url="http://127.0.0.1:9/stuck")
        for number in range(1, 101):
            yield Item(number, text=f"word{number}", document_id=f"t{number}")

    async def report(ended: Sequence[Outcome]) -> None:
        outcomes.extend(ended)
        if len(outcomes) == 100:
            all_texts.set()

    class Stuck:
        async def __aenter__(self) -> None:
            await stuck.wait()
            raise ServiceTrouble("never")

        async def __aexit__(self, *_: object) -> None: ...

    monkeypatch.setattr(ingester._fetcher, "open", lambda url, param=None: Stuck())
    running = asyncio.create_task(ingester.run("default", "c", feed(), IngestOptions(), report))
    async with asyncio.timeout(30):
        await all_texts.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running


@given(st.integers(1, 60), st.integers(1, 20), st.randoms(use_true_random=False))
def test_progress_knows_what_has_ended(count: int, step: int, shuffled: random.Random) -> None:
    progress, expected = Progress(), set()
    order = list(range(count))
    shuffled.shuffle(order)
    for at in range(0, count, step):
        progress.end(order[at : at + step])
        expected |= set(order[at : at + step])
        again = Progress(progress.below, progress.above())
        for one in (progress, again):
            assert {number for number in range(count + 5) if one.has_ended(number)} == expected
            assert one.below not in expected
    assert progress.above() == ()


async def test_a_channel_tells_every_consumer_of_its_end() -> None:
    channel: Channel[int] = Channel(2)
    taken: list[int] = []

    async def consume() -> None:
        while some := await channel.take(3):
            taken.extend(some)

    consumers = [asyncio.create_task(consume()) for _ in range(3)]
    for number in range(20):
        await channel.put(number)
    await channel.close()
    async with asyncio.timeout(5):
        await asyncio.gather(*consumers)
    assert sorted(taken) == list(range(20))
    assert await channel.take() == []


def test_statistics() -> None:
    counted = IngestStatistics()
    counted.count(
        [Outcome(0, "a", "a", "indexed"), Outcome(1, "b", "b", "failed"), Outcome(2, "c", "c", "skipped")]
    )
    assert counted.final(1.5) == {
        "total_processed": 3,
        "successful": 1,
        "failed": 1,
        "skipped": 1,
        "total_duration_ms": 1500.0,
        "avg_time_per_item_ms": 500.0,
        "throughput": 2.0,
    }
    assert IngestStatistics().final(0.0)["throughput"] == 0.0


async def test_one_bad_text_does_not_take_the_others_along(
    platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    embed = platform.perception.embed_texts

    async def choking(texts: tuple[str, ...]) -> Embeddings:
        if "bad" in texts:
            raise EncoderError("The encoder chokes on this.")
        return await embed(texts)

    monkeypatch.setattr(platform.perception, "embed_texts", choking)
    items = [Item(number, text=text) for number, text in enumerate(("one", "bad", "two"))]
    ended = await ingested(platform, items)
    assert [ended[number].status for number in range(3)] == ["indexed", "failed", "indexed"]
    assert ended[1].code == "encoder_error"


async def test_a_text_file_that_is_too_long_is_not_read(
    platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    limit = platform.gateway.config.limits.max_text_characters
    body = io.BytesIO(b"long " * limit)
    ref = platform.media.receive("default", body, "text/plain", 1 << 30)
    platform.media.commit(ref, filename="a.txt")

    def read(ref: object) -> bytes:
        raise AssertionError("it was read into memory")

    monkeypatch.setattr(platform.media, "read", read)
    ended = await ingested(platform, [Item(0, file_id=ref.id)])
    assert (ended[0].status, ended[0].code) == ("failed", "limit_exceeded")
