"""The parts of the model: queues whose answers are known, and what must never be lost in them."""

from __future__ import annotations

import random
from collections.abc import Generator
from typing import Any

import numpy as np
import pytest
import simpy
from hypothesis import given, settings
from hypothesis import strategies as st

from deploy.pool_settings import AutoscalingSettings
from deploy.simulation.autoscaler import autoscale
from deploy.simulation.decoder import DecoderReplica, Stream
from deploy.simulation.encoder import EncoderReplica, encode
from deploy.simulation.popularity import Popularity
from deploy.simulation.refusal import Refused
from deploy.simulation.replica_pool import ReplicaPool
from deploy.simulation.service_times import DecoderTimes, EncoderTimes
from deploy.simulation.turns import Turns

Events = Generator[simpy.Event, Any, None]
DECODER = DecoderTimes(
    overhead_seconds=0.001,
    read_seconds=0.01,
    seconds_per_context_token=1e-5,
    seconds_per_token=1e-3,
    seconds_per_stream=1e-4,
    max_streams=8,
    kv_tokens=10_000,
)


def _encoders(
    env: simpy.Environment, times: EncoderTimes, replicas: int = 1, ongoing: int = 10**6, queued: int = 10**6
) -> ReplicaPool[EncoderReplica]:
    waits = list[tuple[float, float]]()
    pool = ReplicaPool(
        env,
        "vision",
        lambda: EncoderReplica(env, times, waits),
        replicas,
        ongoing,
        queued,
        random.Random(1),  # noqa: S311 - a model
    )
    pool.waits = waits
    return pool


@pytest.mark.parametrize("busy", [0.5, 0.8])
def test_a_queue_before_one_model_waits_as_long_as_pollaczek_and_khinchine_say(busy: float) -> None:
    env = simpy.Environment()
    times = EncoderTimes(seconds_per_item=1.0, max_items=1)
    pool = _encoders(env, times)
    dice = random.Random(5)  # noqa: S311 - a model

    def come() -> Events:
        for _ in range(15_000):
            yield env.timeout(dice.expovariate(busy))
            env.process(encode(pool, times, 1))

    env.process(come())
    env.run()
    waited = np.mean([seconds for _, seconds in pool.waits])
    assert waited == pytest.approx(busy / (2 * (1 - busy)), rel=0.1)
    assert pool.ongoing == 0
    assert pool.usage()[0] == pytest.approx(15_000)


def test_what_waits_shares_the_next_batch_and_a_lone_item_passes_most_of_a_large_call() -> None:
    env = simpy.Environment()
    times = EncoderTimes(fixed_seconds=1.0, seconds_per_item=0.1, max_items=4)
    replica = EncoderReplica(env, times)
    large = replica.submit(10)
    done = dict[str, float]()

    def later() -> Events:
        yield env.timeout(0.5)
        yield replica.submit(1)
        done["lone"] = env.now

    def whole() -> Events:
        yield large
        done["large"] = env.now

    env.process(later())
    env.process(whole())
    env.run()
    # Batches of 4; then 4 of the call's second turn, which the lone item does not pass; then it, with the rest.
    assert done == {"lone": pytest.approx(2 * 1.4 + 1.3), "large": pytest.approx(2 * 1.4 + 1.3)}


@settings(max_examples=40)
@given(
    st.integers(1, 300),
    st.integers(0, 100_000),
    st.integers(0, 200),
    st.floats(0, 0.1),
    st.floats(0, 1e-5),
    st.floats(0, 1e-3),
)
def test_steps_in_a_row_take_as_long_as_one_after_the_other(
    streams: int, context: int, steps: int, read: float, by_context: float, by_token: float
) -> None:
    times = DecoderTimes(
        overhead_seconds=0.001,
        read_seconds=read,
        seconds_per_context_token=by_context,
        seconds_per_token=by_token,
        seconds_per_stream=1e-4,
        max_streams=300,
        kv_tokens=10**6,
    )
    each = sum(times.step_seconds(streams, context + step * streams, 0) for step in range(steps))
    assert times.steps_seconds(streams, context, steps) == pytest.approx(each)


def test_a_lone_answer_takes_a_step_for_its_prompt_and_one_for_each_further_token() -> None:
    env = simpy.Environment()
    stream = DecoderReplica(env, DECODER).submit(50, 4)
    seen = _watch(env, [stream])
    env.run()
    first = 0.001 + 50e-3
    further = sum(0.001 + 0.01 + 1e-5 * context + 1e-4 for context in (50, 51, 52))
    assert seen == [(pytest.approx(first), pytest.approx(first + further))]


@settings(max_examples=30)
@given(st.lists(st.tuples(st.floats(0, 2), st.integers(1, 300), st.integers(1, 60)), min_size=1, max_size=40))
def test_every_answer_ends_once_whatever_room_there_is(asked: list[tuple[float, int, int]]) -> None:
    env = simpy.Environment()
    replica = DecoderReplica(env, DECODER.model_copy(update={"kv_tokens": 400, "max_batched_tokens": 64}))
    ends = list[tuple[float, float, int]]()

    def ask(at: float, prompt: int, tokens: int) -> Events:
        yield env.timeout(at)
        stream = replica.submit(prompt, tokens)
        yield stream.first
        first = env.now
        yield stream.last
        ends.append((first, env.now, tokens))

    for one in asked:
        env.process(ask(*one))
    env.run()
    assert len(ends) == len(asked)
    # No stream has more than one token a step, and none is shorter than what memory takes for one.
    assert all(last - first >= (tokens - 1) * 0.011 - 1e-9 for first, last, tokens in ends)
    assert (replica._streams, replica._context, replica._reserved) == (0, 0, 0)


def test_streams_that_outgrow_the_cache_give_way_and_come_back() -> None:
    env = simpy.Environment()
    replica = DecoderReplica(env, DECODER.model_copy(update={"kv_tokens": 300}))
    seen = _watch(env, [replica.submit(50, 100) for _ in range(4)])
    env.run()
    assert replica.preempted > 0
    assert len(seen) == 4
    assert seen[0][1] < seen[-1][1]  # the first to come did not give way


def test_whoever_holds_fewest_is_next() -> None:
    env = simpy.Environment()
    turns = Turns(env, 2, 100, 1000)
    order = list[int]()

    def ask(tenant: int, at: float) -> Events:
        yield env.timeout(at)
        yield from turns.take(tenant)
        order.append(tenant)
        yield env.timeout(10)
        turns.release(tenant)

    for _ in range(6):
        env.process(ask(1, 0))
    env.process(ask(2, 1))
    env.run()
    assert order == [1, 1, 2, 1, 1, 1, 1]
    assert turns._free == 2
    assert not turns._held


def test_full_queues_refuse_and_waiting_has_an_end() -> None:
    env = simpy.Environment()
    turns = Turns(env, 1, 4, 5)
    answers = list[tuple[int, float]]()

    def ask(tenant: int) -> Events:
        try:
            yield from turns.take(tenant)
        except Refused as refused:
            answers.append((refused.status, env.now))

    for tenant in (
        1,
        1,
        1,
        1,
        1,
        2,
        3,
    ):  # one holds, three wait, one is over its share; one waits, one is too many
        env.process(ask(tenant))
    env.run()
    assert answers == [(429, 0), (503, 0), (503, 5), (503, 5), (503, 5), (503, 5)]
    assert turns.waiting == 0


def test_a_pool_holds_to_its_limits_and_a_replica_that_leaves_ends_its_work() -> None:
    env = simpy.Environment()
    times = EncoderTimes(seconds_per_item=1.0, max_items=1)
    pool = _encoders(env, times, replicas=2, ongoing=2, queued=1)
    outcomes = list[str]()

    def ask() -> Events:
        try:
            yield from encode(pool, times, 1)
        except Refused as refused:
            outcomes.append(str(refused.status))
        else:
            outcomes.append("done")

    for _ in range(6):
        env.process(ask())
    env.run(until=0.5)
    assert [replica.ongoing for replica in pool.replicas] == [2, 2]
    assert pool.queued == 1
    assert outcomes == ["503"]
    pool.stop()
    env.run()
    assert outcomes.count("done") == 5
    assert pool.ongoing == 0
    assert pool.usage()[0] == 5


def test_replicas_follow_the_load_within_their_bounds() -> None:
    env = simpy.Environment()
    times = EncoderTimes(seconds_per_item=0.5, max_items=1)
    pool = _encoders(env, times)
    wanted = AutoscalingSettings(
        min_replicas=1, max_replicas=4, target_ongoing_requests=1, downscale_delay_seconds=30
    )
    counts = list[tuple[float, int]]()

    def come() -> Events:
        while env.now < 100:
            env.process(encode(pool, times, 1))
            yield env.timeout(0.2)  # two and a half replicas' work

    def look() -> Events:
        while True:
            counts.append((env.now, len(pool.replicas)))
            yield env.timeout(1)

    env.process(autoscale(pool, wanted, start_seconds=10))
    env.process(come())
    env.process(look())
    env.run(until=400)
    numbers = [count for _, count in counts]
    assert set(numbers) <= {1, 2, 3, 4}
    assert max(numbers) >= 3
    assert all(count == 1 for at, count in counts if at < 15)  # 5 s of delay, 10 s until one is there
    assert numbers[-1] == 1


@pytest.mark.parametrize("share", [0.0, 0.5, 0.7, 0.9])
def test_the_cache_answers_the_share_that_it_is_to(share: float) -> None:
    popularity = Popularity(100_000, 0.8, share)
    drawn = popularity.draw(np.random.default_rng(3), 50_000)
    assert np.mean([popularity.is_cached(int(one)) for one in drawn]) == pytest.approx(share, abs=0.01)


def _watch(env: simpy.Environment, streams: list[Stream]) -> list[tuple[float, float]]:
    """When each had its first and its last token, in the order of their ends."""
    seen = list[tuple[float, float]]()

    def watch(stream: Stream) -> Events:
        yield stream.first
        first = env.now
        yield stream.last
        seen.append((first, env.now))

    for stream in streams:
        env.process(watch(stream))
    return seen
