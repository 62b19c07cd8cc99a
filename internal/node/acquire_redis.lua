-- Gives an identity a worker number: the one that it has, in a new generation, or
-- the next free one.
--
-- KEYS[1]  hash: identity → "<worker> <generation> <beat>", and after the first renewal
--          " <load> <version> <address>"
-- KEYS[2]  hash: worker → identity
-- KEYS[3]  hash: generation (the last one given), next (number to try first), since
--          (Redis' clock in µs when this registry was found empty)
-- KEYS[4]  hash: worker → "<ms since 1970> <generation>": no ID of that number has a
--          later time, and who had it last
-- ARGV[1]  identity
-- ARGV[2]  highest worker number
-- ARGV[3]  milliseconds after "since" in which nobody new gets a number
-- ARGV[4]  µs that are added to the clock (0, but for tests)
-- Returns {worker, generation as text, the time of that number in KEYS[4] or '0'},
-- {-1, milliseconds to wait}, or {-2} when all numbers are taken.
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2] + tonumber(ARGV[4])
local since = tonumber(redis.call('HGET', KEYS[3], 'since'))
if not since or since > now then
  since = now
  redis.call('HSET', KEYS[3], 'since', string.format('%.0f', now))
end
local worker
local held = redis.call('HGET', KEYS[1], ARGV[1])
if held then
  worker = tonumber(string.match(held, '^%d+'))
else
  local wait = since + ARGV[3] * 1000 - now
  if wait > 0 then
    return { -1, math.ceil(wait / 1000) }
  end
  local taken = {}
  for _, w in ipairs(redis.call('HKEYS', KEYS[2])) do
    taken[tonumber(w)] = true
  end
  local count = ARGV[2] + 1
  local first = tonumber(redis.call('HGET', KEYS[3], 'next') or '0')
  for i = 0, count - 1 do
    local w = (first + i) % count
    if not taken[w] then
      worker = w
      break
    end
  end
  if not worker then
    return { -2 }
  end
  redis.call('HSET', KEYS[3], 'next', (worker + 1) % count)
  redis.call('HSET', KEYS[2], worker, ARGV[1])
end
-- From the clock, so that generations grow even past a loss of this registry.
local last = tonumber(redis.call('HGET', KEYS[3], 'generation') or '0')
local generation = string.format('%.0f', math.max(last + 1, now))
redis.call('HSET', KEYS[3], 'generation', generation)
redis.call('HSET', KEYS[1], ARGV[1], worker .. ' ' .. generation .. ' 0')
local ms = string.match(redis.call('HGET', KEYS[4], worker) or '0', '^%d+')
redis.call('HSET', KEYS[4], worker, ms .. ' ' .. generation)
return { worker, generation, ms }
