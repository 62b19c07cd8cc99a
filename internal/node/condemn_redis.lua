-- Marks the lease of a holder that seems to be dead: what it has written is cleared away,
-- and if it lives it is told so when it renews.
--
-- KEYS     as in acquire_redis.lua
-- ARGV[1]  identity
-- ARGV[2]  worker
-- ARGV[3]  generation
-- ARGV[4]  the beat at which the holder was found dead
-- Returns the lease as it is now; '' when it is another's, or the holder has shown a sign
-- of life.
local held = redis.call('HGET', KEYS[1], ARGV[1]) or ''
local worker, generation, beat, about = string.match(held, '^(%d+) (%d+) (%d+)(.*)$')
if worker ~= ARGV[2] or generation ~= ARGV[3] or beat ~= ARGV[4] then
  return ''
end
-- A holder has been told a later beat, so this one shows it that something is missing.
held = worker .. ' ' .. generation .. ' 0' .. about
redis.call('HSET', KEYS[1], ARGV[1], held)
return held
