"""A decoder with continuous batching, as vLLM does it: every step gives each stream a token."""

from __future__ import annotations

import bisect
import heapq
from collections import deque
from collections.abc import Generator
from typing import Any

import simpy

from deploy.simulation.service_times import DecoderTimes

__all__ = ["DecoderReplica", "Stream"]


class Stream:
    """One answer on its way. ``first`` happens with its first token, ``last`` with its last."""

    __slots__ = ("entered", "first", "joined_at", "last", "left", "prompt", "unread")

    def __init__(self, env: simpy.Environment, prompt_tokens: int, output_tokens: int) -> None:
        self.first = env.event()
        self.last = env.event()
        self.entered = env.now
        self.prompt = prompt_tokens
        self.left = max(1, output_tokens)
        self.unread = prompt_tokens
        self.joined_at = 0


class DecoderReplica:
    """Prompts are read in the order they came, in pieces that fit beside the running streams' tokens.

    A prompt begins when there is room for all of it in the cache of keys and values. When the streams outgrow that,
    the one that joined last gives way and is read again later (preemption by recomputation).
    """

    def __init__(
        self, env: simpy.Environment, times: DecoderTimes, waits: list[tuple[float, float]] | None = None
    ) -> None:
        self._env = env
        self._times = times
        self._waits = waits
        self.ongoing = 0
        self.busy_seconds = 0.0
        self.started_seconds = env.now
        self.preempted = 0
        self._step = self._number = 0
        self._waiting: deque[Stream] = deque()
        self._reading: deque[Stream] = deque()
        self._running: list[tuple[int, int, Stream]] = []  # by the step of their end
        self._streams = 0
        self._context = 0  # tokens kept of running streams
        self._reserved = 0  # and for prompts that are being read
        self._wake = env.event()
        env.process(self._work())

    @property
    def oldest_wait_seconds(self) -> float:
        """How long the first stream whose prompt has not begun has waited."""
        return self._env.now - self._waiting[0].entered if self._waiting else 0.0

    def submit(self, prompt_tokens: int, output_tokens: int) -> Stream:
        """Begin an answer."""
        most = max(1, self._times.kv_tokens - output_tokens)  # a longer one could never be read
        stream = Stream(self._env, min(max(1, prompt_tokens), most), output_tokens)
        self._waiting.append(stream)
        if not self._wake.triggered:
            self._wake.succeed()
        return stream

    def _work(self) -> Generator[simpy.Event, Any, None]:
        while True:
            self._admit()
            if self._reading:
                prompt, ready = self._read()
                seconds = self._times.step_seconds(self._streams, self._context + self._reserved, prompt)
                yield self._env.timeout(seconds)
                self.busy_seconds += seconds
                self._advance(1)
                for stream in ready:
                    self._join(stream)
            elif self._streams:
                yield from self._steps()
            else:
                self._wake = self._env.event()
                yield self._wake
            while self._context + self._reserved > self._times.kv_tokens and self._streams > 1:
                self._give_way()

    def _steps(self) -> Generator[simpy.Event, Any, None]:
        """All steps up to the next end of a stream at once, or up to the one in which a new stream comes."""
        streams, context, begun = self._streams, self._context, self._env.now
        room = (self._times.kv_tokens - context) // streams
        steps = max(1, min(self._running[0][0] - self._step, room))
        seconds = self._times.steps_seconds(streams, context, steps)
        if self._waiting:  # there was no room for it: nobody who comes now changes that
            yield self._env.timeout(seconds)
        else:
            self._wake = self._env.event()
            yield self._env.timeout(seconds) | self._wake
            passed = self._env.now - begun
            if passed < seconds:
                steps = bisect.bisect_left(
                    range(steps), passed, lo=1, key=lambda n: self._times.steps_seconds(streams, context, n)
                )
                seconds = self._times.steps_seconds(streams, context, steps)
                yield self._env.timeout(max(0.0, seconds - passed))
        self.busy_seconds += seconds
        self._advance(steps)

    def _advance(self, steps: int) -> None:
        self._step += steps
        self._context += steps * self._streams
        while self._running and self._running[0][0] <= self._step:
            stream = heapq.heappop(self._running)[2]
            self._streams -= 1
            self._context -= stream.prompt + stream.left - 1
            stream.last.succeed()

    def _admit(self) -> None:
        while self._waiting:
            stream = self._waiting[0]
            taken = self._streams + len(self._reading)
            room = self._times.kv_tokens - self._context - self._reserved
            if taken >= self._times.max_streams or (taken and stream.prompt + self._streams > room):
                return
            self._waiting.popleft()
            self._reserved += stream.prompt
            self._reading.append(stream)
            if self._waits is not None and not stream.first.triggered:
                self._waits.append((stream.entered, self._env.now - stream.entered))

    def _read(self) -> tuple[int, list[Stream]]:
        """Tokens of prompts that the next step reads, and the streams whose prompts it ends."""
        budget = max(1, self._times.max_batched_tokens - self._streams)
        read, ready = 0, []
        while self._reading and read < budget:
            stream = self._reading[0]
            taken = min(stream.unread, budget - read)
            stream.unread -= taken
            read += taken
            if stream.unread:
                break
            ready.append(self._reading.popleft())
        return read, ready

    def _join(self, stream: Stream) -> None:
        """The prompt is read, which gives the first token, too."""
        self._reserved -= stream.prompt
        if not stream.first.triggered:
            stream.first.succeed()
        if stream.left == 1:
            stream.last.succeed()
            return
        self._context += stream.prompt
        self._streams += 1
        self._number += 1
        stream.joined_at = self._step
        heapq.heappush(self._running, (self._step + stream.left - 1, self._number, stream))

    def _give_way(self) -> None:
        latest = max(self._running, key=lambda one: one[1])
        stream = latest[2]
        self._running.remove(latest)
        heapq.heapify(self._running)
        made = self._step - stream.joined_at
        self._streams -= 1
        self._context -= stream.prompt + made
        stream.prompt += made
        stream.unread = stream.prompt
        stream.left -= made + 1  # its first token was one, too
        self._waiting.appendleft(stream)
        self.preempted += 1
