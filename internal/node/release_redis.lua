-- Frees a worker number, unless a newer generation has it. A holder that was found dead
-- and has shown a sign of life since keeps it, and is told when it renews that what it has
-- written is cleared away.
--
-- KEYS     as in acquire_redis.lua
-- ARGV[1]  identity
-- ARGV[2]  worker
-- ARGV[3]  generation
-- ARGV[4]  the beat at which the holder was found dead; '' when it is the holder
--          itself that releases
-- ARGV[5]  ms since 1970, of the holder's last ID; '' where that is not known
-- Returns 1 when it was freed.
local held = redis.call('HGET', KEYS[1], ARGV[1])
if not held then
  return 0
end
local worker, generation, beat, about = string.match(held, '^(%d+) (%d+) (%d+)(.*)$')
if worker ~= ARGV[2] or generation ~= ARGV[3] then
  return 0
end
if ARGV[4] ~= '' and beat ~= ARGV[4] then
  redis.call('HSET', KEYS[1], ARGV[1], worker .. ' ' .. generation .. ' 0' .. about)
  return 0
end
redis.call('HDEL', KEYS[1], ARGV[1])
if redis.call('HGET', KEYS[2], worker) == ARGV[1] then
  redis.call('HDEL', KEYS[2], worker)
end
if ARGV[5] ~= '' then
  redis.call('HSET', KEYS[4], worker, ARGV[5] .. ' ' .. generation)
end
return 1
