-- Shows that a consumer lives, and returns who else does and who owns what.
--
-- KEYS[1]  hash: consumer → its beat, "<counter> <1 when it takes partitions>"
-- KEYS[2]  hash: partition → the consumer that owns it
-- ARGV[1]  the consumer
-- ARGV[2]  its beat
-- ARGV[3]  seconds for which both hashes are kept
-- Returns both hashes, each as a flat list, and the clock in ms as text.
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
redis.call('EXPIRE', KEYS[1], ARGV[3])
redis.call('EXPIRE', KEYS[2], ARGV[3])
local time = redis.call('TIME')
local ms = string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000))
return { redis.call('HGETALL', KEYS[1]), redis.call('HGETALL', KEYS[2]), ms }
