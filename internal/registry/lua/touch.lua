-- Notes that others than the node have changed clients of it.
--
-- KEYS[1]  ws:node:touched:{n}  when that was: the clock in µs, and always more than before
-- ARGV[1]  how many seconds that is kept
local now = redis.call('TIME')
local last = tonumber(redis.call('GET', KEYS[1]) or '0')
redis.call('SET', KEYS[1], string.format('%.0f', math.max(now[1] * 1000000 + now[2], last + 1)), 'EX', ARGV[1])
return 0
