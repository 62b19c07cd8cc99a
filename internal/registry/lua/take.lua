-- Notes that a client is coming back.
--
-- KEYS[1]  ws:saved:{pid}, see save.lua; in it
--            claim  "<number> <node>" of the last attempt: the clock in µs, and always
--                   more than before
-- ARGV[1]  the node that it comes back on
--
-- Returns {number, number before, node before}, or nothing when nothing is saved.
local key = KEYS[1]
if redis.call('EXISTS', key) == 0 then
  return nil
end
local last, before = string.match(redis.call('HGET', key, 'claim') or '0 ', '^(%d+) (.*)$')
local now = redis.call('TIME')
local number = string.format('%.0f', math.max(now[1] * 1000000 + now[2], tonumber(last) + 1))
redis.call('HSET', key, 'claim', number .. ' ' .. ARGV[1])
return {number, last, before}
