"""One run of one batch: from where the log says it is, to its end or to where the run is stopped."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace

import msgspec

from serving.batches.answers import AnsweredLine, answered_line, unanswered_line, write_files
from serving.batches.config import BatchConfig
from serving.batches.input_file import input_lines
from serving.batches.lines import Line, Request, check, request_of
from serving.batches.output_files import OutputFiles
from serving.batches.records import Batch, BatchState, EndStatus, Problem
from serving.batches.sending import Sender
from serving.batches.store import BatchStore
from serving.concurrency import all_of, to_the_end
from serving.ingest.progress import Progress
from storage.errors import CorruptObject, MediaNotFound
from storage.media import MediaStore

__all__ = ["BatchRun", "LostBatch"]

_log = logging.getLogger("manymodal.gateway")

_LARGE_BYTES = 128 << 10  # less is written in less time than a thread takes to be asked
_READ_AHEAD_LINES = 64
_READ_AHEAD_BYTES = 1 << 20
_WHY = {
    "expired": ("batch_expired", "This request could not be executed before the completion window expired."),
    "cancelled": ("batch_cancelled", "The batch was cancelled before this request was executed."),
}


class LostBatch(Exception):
    """Another gateway goes on with the batch."""


class BatchRun:
    """``go`` does what is left. After cancelling that, ``end`` ends the batch, ``keep`` leaves it to a later run.

    Raises ``LostBatch``, and errors of the store; the batch then goes on where the log says.
    """

    def __init__(
        self,
        store: BatchStore,
        media: MediaStore,
        sender: Sender,
        config: BatchConfig,
        max_line_bytes: int,
        batch: Batch,
        state: BatchState,
    ) -> None:
        self._store = store
        self._media = media
        self._sender = sender
        self._config = config
        self._max_line_bytes = max_line_bytes
        self._files = OutputFiles(media, store)
        self._batch = batch
        self.state = state
        self._progress = Progress(state.done_below, state.done_above)
        self._answered: list[AnsweredLine] = []
        self._answered_bytes = 0
        self._writing = asyncio.Lock()
        self._taking = asyncio.Lock()
        self._ahead: list[Request] = []
        self._lines: Iterator[Line] = iter(())

    async def go(self) -> None:
        """Check the file, answer its requests, write the files."""
        try:
            if self.state.status == "validating":
                await self._validate()
            if self.state.status == "in_progress":
                await self._answer()
                await self.end("completed")
            elif self.state.status == "finalizing":
                await self._finalize()
        except MediaNotFound:
            await self.fail("input_file_not_found", "The input file was deleted while the batch was running.")
        except CorruptObject as error:
            await self.fail("corrupt_object", str(error))

    async def end(self, status: EndStatus, problems: tuple[Problem, ...] = ()) -> None:
        """End the batch: with what was answered, and what of the rest is to be told."""
        if self.state.status == "finalizing":
            await self._finalize()
            return
        await self.keep()
        now = self._store.clock()
        cancelled_at = await asyncio.to_thread(self._store.cancelled_at, self._batch)
        state = replace(
            self.state,
            problems=problems,
            ends_as=status,
            cancelling_at_seconds=cancelled_at if status == "cancelled" else None,
        )
        if state.status == "validating":  # nothing was answered
            await self._write(replace(state, status=status, ended_at_seconds=now))
            return
        await self._write(replace(state, status="finalizing", finalizing_at_seconds=now))
        await self._finalize()

    async def fail(self, code: str, message: str) -> None:
        """End it because of what is wrong with it as a whole; what was answered is given."""
        problem = Problem(code, message)
        if self.state.status == "finalizing":
            # The answers that are kept are damaged: there are no files to be made of them.
            now = self._store.clock()
            failed = replace(self.state, status="failed", ends_as="failed", output=None, errors=None)
            await self._write(replace(failed, problems=(problem,), ended_at_seconds=now))
            return
        await self.end("failed", (problem,))

    async def keep(self) -> None:
        """Write down what was answered since the last entry. Nothing cuts it short."""
        await to_the_end(self._keep())

    async def _validate(self) -> None:
        checked = await asyncio.to_thread(
            lambda: check(self._read(), self._batch.endpoint, self._max_line_bytes, self._config)
        )
        now = self._store.clock()
        if checked.problems:
            problems = checked.problems
            await self._write(
                replace(
                    self.state, status="failed", ends_as="failed", problems=problems, ended_at_seconds=now
                )
            )
            return
        begun = replace(self.state, status="in_progress", total=checked.total, model=checked.model)
        await self._write(replace(begun, in_progress_at_seconds=now))

    async def _answer(self) -> None:
        self._lines = self._read()
        finished = asyncio.Event()

        async def work() -> None:
            await all_of([self._work() for _ in range(self._config.workers)])
            finished.set()

        async def keep_now_and_then() -> None:
            while not finished.is_set():
                try:
                    async with asyncio.timeout(self._config.checkpoint_seconds):
                        await finished.wait()
                except TimeoutError:
                    await self.keep()

        await all_of([work(), keep_now_and_then()])

    async def _work(self) -> None:
        while (ended := await self._sender.next_answer(self._batch, self._take)) is not None:
            request, answer = ended
            if answer is None or len(answer.body) < _LARGE_BYTES:
                line = answered_line(request.number, request.custom_id, answer)
            else:
                line = await asyncio.to_thread(answered_line, request.number, request.custom_id, answer)
            self._answered.append(line)
            self._answered_bytes += len(line.line)
            if (
                len(self._answered) >= self._config.checkpoint_answers
                or self._answered_bytes >= self._config.checkpoint_bytes
            ):
                await self.keep()

    async def _take(self) -> Request | None:
        """The next request that is not answered."""
        async with self._taking:
            if not self._ahead:
                self._ahead = await asyncio.to_thread(self._read_ahead)
            return self._ahead.pop() if self._ahead else None

    def _read_ahead(self) -> list[Request]:
        """Some requests, the next one last."""
        ahead: list[Request] = []
        size_bytes = 0
        for line in self._lines:
            if self._progress.has_ended(line.number):
                continue
            ahead.append(self._request(line))
            size_bytes += len(ahead[-1].body)
            if len(ahead) == _READ_AHEAD_LINES or size_bytes >= _READ_AHEAD_BYTES:
                break
        return ahead[::-1]

    def _request(self, line: Line) -> Request:
        try:
            return request_of(line)
        except (ValueError, msgspec.DecodeError) as error:  # files do not change
            raise CorruptObject("The input file is not what it was when it was checked.") from error

    def _read(self) -> Iterator[Line]:
        return input_lines(self._media, self._batch, self._max_line_bytes)

    async def _keep(self) -> None:
        async with self._writing:
            answered, self._answered = self._answered, []
            self._answered_bytes = 0
            if not answered:
                return
            try:
                await self._append_answers(answered)
            except BaseException:  # should it be ended now, they count all the same
                self._answered = answered + self._answered
                raise

    async def _append_answers(self, answered: list[AnsweredLine]) -> None:
        kept = b"".join(one.line for one in answered)
        name, sha256 = await asyncio.to_thread(self._store.put_answers, self._batch, kept)
        progress = Progress(self._progress.below, self._progress.above())
        progress.end(one.number for one in answered)
        good = sum(one.is_good for one in answered)
        counted = replace(
            self.state,
            completed=self.state.completed + good,
            failed=self.state.failed + len(answered) - good,
            usage=sum((one.usage for one in answered), self.state.usage),
            done_below=progress.below,
            done_above=progress.above(),
            answers=name,
            answers_sha256=sha256,
        )
        await self._append(counted)
        self._progress = progress

    async def _write(self, state: BatchState) -> None:
        async def write() -> None:
            async with self._writing:
                await self._append(replace(state, answers=None, answers_sha256=None))

        await to_the_end(write())

    async def _append(self, state: BatchState) -> None:
        entry = await asyncio.to_thread(self._store.append, self._batch, state)
        if entry is None:
            raise LostBatch
        self.state = entry

    async def _finalize(self) -> None:
        try:
            await self._write_files()
        except CorruptObject as error:
            await self.fail("corrupt_object", str(error))

    async def _write_files(self) -> None:
        """Write the files, once: they are received, noted, and only then made public."""
        while True:
            if self.state.output is None and self.state.errors is None:
                state = await asyncio.to_thread(self._received)
                await self._write(state)
            if await asyncio.to_thread(self._files.publish, self._batch, self.state):
                break
            await self._write(replace(self.state, output=None, errors=None))  # collected as garbage meanwhile
        ends_as = self.state.ends_as or "completed"
        await self._write(replace(self.state, status=ends_as, ended_at_seconds=self._store.clock()))

    def _received(self) -> BatchState:
        """The state with both files received, as far as there is something in them. Blocks."""
        state = self.state
        unanswered = 0

        def unanswered_lines() -> Iterator[bytes]:
            nonlocal unanswered
            code, message = _WHY[state.ends_as or ""]
            for line in self._read():
                if not self._progress.has_ended(line.number):
                    request = self._request(line)
                    yield unanswered_line(request.number, request.custom_id, code, message).line
                    unanswered += 1

        with closing(self._files.spool()) as output, closing(self._files.spool()) as errors:
            write_files(self._store.answers(self._batch), output, errors)
            if state.ends_as in _WHY:
                try:
                    write_files(unanswered_lines(), output, errors)
                except MediaNotFound:
                    _log.info("The input file is gone: what of a batch was not answered is not told")
            refs = self._files.receive(self._batch, output), self._files.receive(self._batch, errors)
        ended = state.completed + state.failed
        failed = state.failed + min(unanswered, state.total - ended)  # once, however often this is done
        return replace(state, output=refs[0], errors=refs[1], failed=failed)
