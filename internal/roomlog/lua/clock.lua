-- Advances the clock of the logs, which never runs backwards.
--
-- KEYS[1]  ws:clock, µs: the position that a key without a log is said to have; no
--          log begins at or below it
-- ARGV[1]  µs that are added to the server's clock (0, but for tests)
-- ARGV[2]  the highest sequence that the caller has seen
--
-- Returns the clock as text.
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2] + tonumber(ARGV[1])
local clock = string.format('%.0f', math.max(now, tonumber(ARGV[2]), tonumber(redis.call('GET', KEYS[1]) or '0')))
redis.call('SET', KEYS[1], clock)
return clock
