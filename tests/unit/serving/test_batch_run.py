"""One run of a batch, cut short anywhere: every request ends up in the files once."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from batch_files import EMBEDDINGS, batch_line
from fake_object_store import Crash, FakeStoreWithHooks, at_every_step, at_step

from serving.batches.config import BatchConfig
from serving.batches.own_app import OwnApplication
from serving.batches.records import Batch, BatchState, EndStatus
from serving.batches.run import BatchRun, LostBatch
from serving.batches.sending import Sender
from serving.batches.store import BatchStore
from serving.errors import BatchNotFound
from serving.identity import CALLER_KEY
from storage.errors import CorruptObject, MediaNotFound, StoreUnavailable
from storage.local import LocalObjectStore
from storage.media import MediaStore
from storage.objects import ObjectStore

CONFIG = BatchConfig(workers=1, checkpoint_answers=1, first_delay_seconds=0.0, attempts=3)
MAX_LINE_BYTES = 1 << 20


class App:
    """Answers with the body's input; with an error to the input "bad"."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.scopes: list[dict[str, Any]] = []
        self.began = asyncio.Event()
        self.hold: asyncio.Event | None = None

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        asked = json.loads((await receive())["body"])
        self.asked.append(asked["input"])
        self.scopes.append(scope)
        self.began.set()
        if self.hold is not None:
            await self.hold.wait()
        status = 400 if asked["input"] == "bad" else 200
        body = json.dumps(
            {"data": asked["input"], "usage": {"prompt_tokens": 2, "total_tokens": 2}}, indent=2
        )
        headers = [(b"x-request-id", b"req_1")]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body.encode()})


class House:
    """A gateway over a store that others use as well."""

    def __init__(self, objects: ObjectStore, spool: Path, app: App, config: BatchConfig = CONFIG) -> None:
        self.media = MediaStore(objects, spool)
        self.store = BatchStore(objects)
        self.config = config
        application = OwnApplication()
        application.attach(app)
        self.sender = Sender(config, application)

    def batch(self, lines: list[dict[str, Any]]) -> Batch:
        data = b"".join(json.dumps(line).encode() + b"\n" for line in lines)
        ref = self.media.receive("default", io.BytesIO(data), "application/jsonl", 1 << 20)
        self.media.commit(ref, filename="a.jsonl", purpose="batch")
        batch = Batch(self.store.new_id(), "default", EMBEDDINGS, ref.id, 1.0, 1e12, 3600)
        self.store.create(batch)
        return batch

    def run(self, batch: Batch) -> BatchRun:
        state = self.store.state(batch)
        return BatchRun(self.store, self.media, self.sender, self.config, MAX_LINE_BYTES, batch, state)

    def files(self) -> dict[str, list[str]]:
        """The custom ids in all files that batches have made, by purpose and kind."""
        found: dict[str, list[str]] = {}
        for record in self.media.list("default", purpose="batch_output"):
            kind = str(record.filename).rpartition("_")[2]
            assert kind not in found, "made twice"
            lines = self.media.read(record.ref).splitlines()
            found[kind] = [json.loads(line)["custom_id"] for line in lines]
        return found


LINES = [batch_line("a"), batch_line("bad"), batch_line("c")]
_READS = ("get", "open", "head", "list")
FILES = {"output.jsonl": ["a", "c"], "error.jsonl": ["bad"]}


@pytest.mark.parametrize("failure", [Crash, StoreUnavailable])
def test_cut_short_at_any_step_of_the_store_it_is_finished_by_the_next_run(
    tmp_path: Path, failure: type[BaseException]
) -> None:
    (tmp_path / "spool").mkdir()

    def attempt(step: int) -> bool:
        objects = LocalObjectStore(tmp_path / str(step))
        before, app = House(objects, tmp_path / "spool", App()), App()
        batch = before.batch(LINES[:2])  # each costs fifteen steps, and every step two runs
        hooked = FakeStoreWithHooks(objects)
        failing = House(hooked, tmp_path / "spool", app)
        run = failing.run(batch)

        def fail() -> None:
            raise failure("now") if failure is StoreUnavailable else failure

        hook, count = at_step(step, fail)

        def counted(when: str, name: str, key: str) -> None:
            # A read that fails, fails before; the dead remember nothing, so one death between two writes will do.
            if (when == "before" or failure is StoreUnavailable) and (
                name not in _READS or (when == "before" and failure is StoreUnavailable)
            ):
                hook(when, name, key)

        hooked.hook = counted
        with contextlib.suppress(Crash, StoreUnavailable, LostBatch):
            asyncio.run(run.go())
        reached = count() > step
        if before.store.state(batch).ended_at_seconds is None:
            resumed = House(objects, tmp_path / "spool", app)
            asyncio.run(resumed.run(batch).go())
        state = before.store.state(batch)
        assert (state.status, state.total, state.completed, state.failed) == ("completed", 2, 1, 1)
        assert state.usage.input_tokens == 2
        assert before.files() == {"output.jsonl": ["a"], "error.jsonl": ["bad"]}, step
        again = Counter(app.asked)
        assert again.keys() == {"a", "bad"}
        assert again.total() <= 3
        return reached

    assert at_every_step(attempt) > (10 if failure is Crash else 30)


async def test_of_two_that_run_it_at_once_only_one_is_believed(tmp_path: Path) -> None:
    (tmp_path / "spool").mkdir()
    objects = LocalObjectStore(tmp_path / "objects")
    slow, quick = App(), App()
    slow.hold = asyncio.Event()
    first, second = (House(objects, tmp_path / "spool", app) for app in (slow, quick))
    batch = first.batch(LINES)
    going = asyncio.create_task(first.run(batch).go())
    await slow.began.wait()
    await second.run(batch).go()
    slow.hold.set()
    with pytest.raises(LostBatch):
        await going
    assert first.files() == FILES
    assert slow.asked == ["a"]


async def test_requests_are_internal_and_may_do_no_more_than_their_endpoint_needs(tmp_path: Path) -> None:
    app = App()
    house = House(LocalObjectStore(tmp_path / "objects"), tmp_path, app)
    await house.run(house.batch(LINES[:1])).go()
    (scope,) = app.scopes
    caller = scope[CALLER_KEY]
    assert (caller.tenant, caller.scopes, caller.internal) == ("default", frozenset({"embeddings"}), True)


async def test_what_is_used_up_is_not_waited_for_and_a_failing_application_is_no_end(tmp_path: Path) -> None:
    calls: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        asked = json.loads((await receive())["body"])["input"]
        calls.append(asked)
        if asked == "broken":
            await send({"type": "http.response.start", "status": 200, "headers": []})
            raise RuntimeError("in the middle")
        await send({"type": "http.response.start", "status": 429, "headers": [(b"retry-after", b"0")]})
        body = {"error": {"code": "insufficient_quota" if asked == "used up" else "rate_limit_exceeded"}}
        await send({"type": "http.response.body", "body": json.dumps(body).encode()})

    house = House(LocalObjectStore(tmp_path / "objects"), tmp_path, app)
    batch = house.batch([batch_line(name) for name in ("used up", "busy", "broken")])
    await house.run(batch).go()
    assert Counter(calls) == {"used up": 1, "busy": CONFIG.attempts, "broken": CONFIG.attempts}
    state = house.store.state(batch)
    assert (state.status, state.failed) == ("completed", 3)
    assert state.errors is not None
    lines = [json.loads(line) for line in house.media.read(state.errors).splitlines()]
    assert lines[2]["response"] is None
    assert lines[2]["error"]["code"] == "server_error"


async def test_a_damaged_answer_is_found_and_given_to_nobody(tmp_path: Path) -> None:
    objects = LocalObjectStore(tmp_path / "objects")
    house = House(objects, tmp_path, App())
    batch = house.batch(LINES)
    run = house.run(batch)
    append = house.store.append

    def damaging(batch: Batch, state: BatchState) -> BatchState | None:
        if state.status == "finalizing" and state.output is None:
            (first, *_) = objects.list(f"batches/default/answers/{batch.id}/")
            objects.put(first.key, b"+{}\n")
        return append(batch, state)

    house.store.append = damaging
    await run.go()
    state = house.store.state(batch)
    assert (state.status, [one.code for one in state.problems]) == ("failed", ["corrupt_object"])
    assert house.files() == {}


async def test_files_that_were_collected_before_they_were_public_are_made_again(tmp_path: Path) -> None:
    objects = LocalObjectStore(tmp_path / "objects")
    now = [1_800_000_000.0]
    house = House(objects, tmp_path, App())
    house.media = MediaStore(objects, tmp_path, lambda: now[0], grace_seconds=100.0)
    batch = house.batch(LINES)
    hooked = FakeStoreWithHooks(objects)
    dying = House(hooked, tmp_path, App())
    dying.media = MediaStore(hooked, tmp_path, lambda: now[0], grace_seconds=100.0)
    run = dying.run(batch)

    def die(when: str, name: str, key: str) -> None:
        if when == "before" and name == "put" and key.startswith("files/"):
            raise Crash

    hooked.hook = die
    with pytest.raises(Crash):
        await run.go()
    state = house.store.state(batch)
    assert state.output is not None
    now[0] += 1000.0
    house.media.drop_reference("default", state.output.sha256, state.output.id)
    with pytest.raises(MediaNotFound):
        house.media.get("default", state.output.id)
    await house.run(batch).go()
    assert house.store.state(batch).status == "completed"
    assert house.files() == FILES


def test_records_of_another_form_are_damage_and_other_ids_are_not_found(tmp_path: Path) -> None:
    objects = LocalObjectStore(tmp_path / "objects")
    house = House(objects, tmp_path, App())
    batch = house.batch(LINES)
    for batch_id in ("", "x", "batch_" + "0" * 32, f"{batch.id}/.."):
        with pytest.raises(BatchNotFound):
            house.store.get("default", batch_id)
    with pytest.raises(BatchNotFound):
        house.store.get("other", batch.id)
    key = f"batches/default/records/{batch.id}.json"
    objects.put(key, objects.get(key).replace(EMBEDDINGS.encode(), b"/v1/else"))
    with pytest.raises(CorruptObject):
        house.store.get("default", batch.id)


def test_only_the_first_cancellation_says_when(tmp_path: Path) -> None:
    now = [5.0]
    house = House(LocalObjectStore(tmp_path / "objects"), tmp_path, App())
    house.store.clock = lambda: now[0]
    batch = house.batch(LINES)
    house.store.cancel(batch)
    now[0] = 9.0
    house.store.cancel(batch)
    assert house.store.cancelled_at(batch) == 5.0
    assert house.store.wish(batch) == "cancel"
    house.store.forget("default", batch.id)
    assert house.store.wish(batch) == "forget"


@pytest.mark.parametrize("failing", ["answers", "log"])
async def test_answers_that_could_not_be_kept_count_when_the_batch_ends(tmp_path: Path, failing: str) -> None:
    hooked = FakeStoreWithHooks(LocalObjectStore(tmp_path / "objects"))
    house = House(hooked, tmp_path, App())
    batch = house.batch(LINES)
    run = house.run(batch)

    def fail(when: str, name: str, key: str) -> None:
        if when == "before" and f"/{failing}/" in key and run.state.status == "in_progress":
            raise StoreUnavailable("now")

    hooked.hook = fail
    with pytest.raises(StoreUnavailable):
        await run.go()
    hooked.hook = lambda *_: None
    await run.end("cancelled")
    state = house.store.state(batch)
    assert (state.status, state.total, state.completed, state.failed) == ("cancelled", 3, 1, 2)
    assert house.files() == {"output.jsonl": ["a"], "error.jsonl": ["bad", "c"]}


@pytest.mark.parametrize("status", ["cancelled", "expired"])
async def test_a_batch_that_is_stopped_ends_although_its_answers_are_damaged(
    tmp_path: Path, status: EndStatus
) -> None:
    objects = LocalObjectStore(tmp_path / "objects")
    house = House(objects, tmp_path, App())
    batch = house.batch(LINES)
    run = house.run(batch)
    put_answers = house.store.put_answers

    def damaging(batch: Batch, answers: bytes) -> tuple[str, str]:
        name, sha256 = put_answers(batch, answers)
        objects.put(f"batches/default/answers/{batch.id}/{name}", b"+{}\n")
        return name, sha256

    house.store.put_answers = damaging
    going = asyncio.create_task(run.go())
    while run.state.completed == 0:  # noqa: ASYNC110 - nobody tells
        await asyncio.sleep(0)
    going.cancel()
    await asyncio.gather(going, return_exceptions=True)
    await run.end(status)
    state = house.store.state(batch)
    assert (state.status, [one.code for one in state.problems]) == ("failed", ["corrupt_object"])
    assert house.files() == {}
