-- Counts a holder's heartbeat, and reclaims its number in a registry that has lost it.
--
-- KEYS     as in acquire_redis.lua
-- ARGV[1]  identity
-- ARGV[2]  worker
-- ARGV[3]  generation
-- ARGV[4]  what the holder tells of itself: as About.text writes it
-- ARGV[5]  the beat that the holder was told last
-- ARGV[6]  ms since 1970: until it renews once more, no ID of it has a later time
-- ARGV[7]  µs that are added to the clock (0, but for tests)
-- Returns {state, beat}. state is 1 when the lease holds; 2 when it holds and the
-- registry has lost something since the last beat, for the entry was missing or an
-- older one; 0 when a later holder has identity or number.
--
-- Beats grow by one, and by a stride when something was lost. The holder is told so until
-- it shows a beat of the new stride, for nobody may have waited for the first answer.
local stride = 1e9
local strides = function(beat) return math.floor(tonumber(beat) / stride) end
local leap = string.format('%.0f', (strides(ARGV[5]) + 1) * stride)
local reserve = function()
  local ms = string.match(redis.call('HGET', KEYS[4], ARGV[2]) or '0', '^%d+')
  if tonumber(ms) < tonumber(ARGV[6]) then
    ms = ARGV[6]
  end
  redis.call('HSET', KEYS[4], ARGV[2], ms .. ' ' .. ARGV[3])
end

local held = redis.call('HGET', KEYS[1], ARGV[1])
if held then
  local worker, generation, beat = string.match(held, '^(%d+) (%d+) (%d+)')
  if worker == ARGV[2] and generation == ARGV[3] then
    local state = 1
    if tonumber(beat) < tonumber(ARGV[5]) then
      state, beat = 2, leap
    else
      state = strides(beat) > strides(ARGV[5]) and 2 or 1
      beat = string.format('%.0f', beat + 1)
    end
    redis.call('HSET', KEYS[1], ARGV[1], worker .. ' ' .. generation .. ' ' .. beat .. ' ' .. ARGV[4])
    reserve()
    return { state, beat }
  end
  if worker ~= ARGV[2] or tonumber(generation) > tonumber(ARGV[3]) then
    return { 0, '0' }
  end
end
-- Free it may be, but not for this holder if a later one has had it in between: the IDs
-- of both would lie in the same time. In a registry that has lost its data an earlier
-- one may have come first; it goes.
local had = string.match(redis.call('HGET', KEYS[4], ARGV[2]) or '', ' (%d+)$')
if had and tonumber(had) > tonumber(ARGV[3]) then
  return { 0, '0' }
end
local holder = redis.call('HGET', KEYS[2], ARGV[2])
if holder and holder ~= ARGV[1] then
  local other = string.match(redis.call('HGET', KEYS[1], holder) or '', '^%d+ (%d+)')
  if other and tonumber(other) > tonumber(ARGV[3]) then
    return { 0, '0' }
  end
  redis.call('HDEL', KEYS[1], holder)
end
if redis.call('HEXISTS', KEYS[3], 'since') == 0 then
  local time = redis.call('TIME')
  redis.call('HSET', KEYS[3], 'since', string.format('%.0f', time[1] * 1000000 + time[2] + tonumber(ARGV[7])))
end
local last = tonumber(redis.call('HGET', KEYS[3], 'generation') or '0')
if tonumber(ARGV[3]) > last then
  redis.call('HSET', KEYS[3], 'generation', ARGV[3])
end
redis.call('HSET', KEYS[2], ARGV[2], ARGV[1])
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2] .. ' ' .. ARGV[3] .. ' ' .. leap .. ' ' .. ARGV[4])
reserve()
return { 2, leap }
