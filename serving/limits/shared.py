"""Counts that all gateways share, in Redis; while it is away each gateway counts for itself."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from serving.limits.windows import WINDOW_SECONDS, Counts, LocalCounts, Places, Standing, Taken, Window
from storage.redis import RedisCache

__all__ = ["SharedCounts", "counts_over"]

# One round trip for all that a request takes. The clock is Redis's own, so gateways' clocks need not agree.
# ARGV: kind, limit, cost or lease, holder; four for each key.
_TAKE = """
local time = redis.call('TIME')
local now = tonumber(time[1]) + tonumber(time[2]) / 1000000
local second = tonumber(time[1])
local window = WINDOW
local states, all = {}, true
for i, key in ipairs(KEYS) do
  local kind, limit, cost = ARGV[4 * i - 3], tonumber(ARGV[4 * i - 2]), tonumber(ARGV[4 * i - 1])
  local state = {used = 0, wait = 0, reset = 0, live = {}}
  if kind == 'places' then
    redis.call('ZREMRANGEBYSCORE', key, '-inf', now)
    state.used = redis.call('ZCARD', key)
    state.fits = state.used < limit
    if not state.fits then state.wait = 1 end
  else
    local fields = redis.call('HGETALL', key)
    local old = {}
    for at = 1, #fields, 2 do
      local bucket, amount = tonumber(fields[at]), tonumber(fields[at + 1])
      if second - bucket > window then
        old[#old + 1] = fields[at]
      else
        state.used = state.used + amount
        state.live[#state.live + 1] = {bucket, amount}
      end
    end
    if #old > 0 then redis.call('HDEL', key, unpack(old)) end
    state.fits = state.used + cost <= limit
    table.sort(state.live, function(a, b) return a[1] < b[1] end)
    if #state.live > 0 then state.reset = state.live[#state.live][1] + window + 1 - now end
    if not state.fits then
      state.wait = -1
      local left = state.used
      for _, one in ipairs(state.live) do
        left = left - one[2]
        if left + cost <= limit then
          state.wait = one[1] + window + 1 - now
          break
        end
      end
    end
  end
  if not state.fits then all = false end
  states[i] = state
end
local answer = {all and 1 or 0, second}
for i, key in ipairs(KEYS) do
  local state = states[i]
  if all then
    local cost = tonumber(ARGV[4 * i - 1])
    if ARGV[4 * i - 3] == 'places' then
      redis.call('ZADD', key, now + cost, ARGV[4 * i])
      redis.call('EXPIRE', key, math.ceil(cost) + 1)
      state.used = state.used + 1
    elseif cost > 0 then
      redis.call('HINCRBY', key, second, cost)
      redis.call('EXPIRE', key, window + 2)
      state.used = state.used + cost
      state.reset = second + window + 1 - now
    end
  end
  answer[#answer + 1] = state.fits and 1 or 0
  answer[#answer + 1] = state.used
  answer[#answer + 1] = math.floor(state.wait * 1000)
  answer[#answer + 1] = math.floor(state.reset * 1000)
end
return answer
""".replace("WINDOW", str(WINDOW_SECONDS))

_CHANGE = """
local had = tonumber(redis.call('HGET', KEYS[1], ARGV[1]))
if had then redis.call('HINCRBY', KEYS[1], ARGV[1], math.max(tonumber(ARGV[2]), -had)) end
"""

_RENEW = """
local time = redis.call('TIME')
local now = tonumber(time[1]) + tonumber(time[2]) / 1000000
for i, key in ipairs(KEYS) do
  redis.call('ZADD', key, 'XX', now + tonumber(ARGV[2 * i]), ARGV[2 * i - 1])
  redis.call('EXPIRE', key, math.ceil(tonumber(ARGV[2 * i])) + 1)
end
"""

_ADD = """
local total, at = tonumber(redis.call('HGET', KEYS[1], 'total')), tonumber(redis.call('HGET', KEYS[1], 'at'))
if not total then return {-1, 0, 0} end
local amount, fits = tonumber(ARGV[2]), 1
if amount > 0 and total + amount > tonumber(ARGV[1]) then
  fits = 0
else
  total = math.max(0, total + amount)
  redis.call('HSET', KEYS[1], 'total', string.format('%.0f', total))
end
return {fits, string.format('%.0f', total), tonumber(redis.call('TIME')[1]) - at}
"""

_SET = """
redis.call('HSET', KEYS[1], 'total', ARGV[1], 'at', redis.call('TIME')[1])
redis.call('EXPIRE', KEYS[1], ARGV[2])
"""

_DOUBT = "if redis.call('EXISTS', KEYS[1]) == 1 then redis.call('HSET', KEYS[1], 'at', 0) end"

_TOTAL_SECONDS = 24 * 3600  # then somebody counts anew
_NAMES = "limits:"


class SharedCounts:
    """Satisfies ``Counts`` over Redis, one round trip for each call, and over memory while Redis does not answer.

    What was counted on the one side is not known on the other: a tenant may get a second minute's worth when Redis
    goes, and another one when it comes back.
    """

    def __init__(self, redis: RedisCache, local: LocalCounts) -> None:
        self._redis = redis
        self._local = local

    async def take(self, wanted: Sequence[Window | Places]) -> Taken:
        """See ``Counts.take``."""
        arguments: list[Any] = []
        for one in wanted:
            if isinstance(one, Places):
                arguments += ("places", one.limit, one.lease_seconds, one.holder)
            else:
                arguments += ("window", one.limit, one.cost, "")
        answer = await self._ask(_TAKE, [one.key for one in wanted], arguments)
        if answer is None:
            return await self._local.take(wanted)
        standings = tuple(
            Standing(
                bool(answer[at]),
                answer[at + 1],
                math.inf if answer[at + 2] < 0 else answer[at + 2] / 1000,
                answer[at + 3] / 1000,
            )
            for at in range(2, len(answer), 4)
        )
        return Taken(bool(answer[0]), answer[1], standings, shared=True)

    async def change(self, taken: Taken, key: str, amount: int) -> None:
        """See ``Counts.change``."""
        if not taken.shared:
            await self._local.change(taken, key, amount)
        elif amount:
            await self._ask(_CHANGE, [key], [taken.second, amount])

    async def release(self, key: str, holder: str) -> None:
        """See ``Counts.release``. It may be held on either side, or by now on none."""
        await self._local.release(key, holder)
        await self._redis.run(lambda redis, name: redis.zrem(name(_NAMES + key), holder))

    async def renew(self, held: Sequence[Places]) -> None:
        """See ``Counts.renew``."""
        await self._local.renew(held)
        if held:
            arguments = [part for one in held for part in (one.holder, one.lease_seconds)]
            await self._ask(_RENEW, [one.key for one in held], arguments)

    async def add(self, key: str, limit: int, amount: int) -> tuple[bool, int, float] | None:
        """See ``Counts.add``."""
        answer = await self._ask(_ADD, [key], [limit, amount])
        if answer is None:
            return await self._local.add(key, limit, amount)
        fits, total, seconds = answer
        return None if fits < 0 else (bool(fits), int(total), float(seconds))

    async def set(self, key: str, total: int) -> None:
        """See ``Counts.set``."""
        await self._local.set(key, total)
        await self._ask(_SET, [key], [total, _TOTAL_SECONDS])

    async def doubt(self, key: str) -> None:
        """See ``Counts.doubt``."""
        await self._local.doubt(key)
        await self._ask(_DOUBT, [key], [])

    async def _ask(self, script: str, keys: Sequence[str], arguments: Sequence[Any]) -> Any:
        return await self._redis.run(
            lambda redis, name: redis.register_script(script)(
                keys=[name(_NAMES + key) for key in keys], args=list(arguments)
            )
        )


def counts_over(redis: RedisCache | None) -> Counts:
    """Counts in Redis where there is one, in memory otherwise."""
    return LocalCounts() if redis is None else SharedCounts(redis, LocalCounts())
