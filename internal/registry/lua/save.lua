-- Keeps where a client stands, and some generations before.
--
-- KEYS[1]  ws:saved:{pid}, a hash:
--            client     who it is, as JSON
--            tag, gen   of the newest generation
--            n          number of the newest generation
--            g<n>       a generation as JSON, up to ARGV[6] + 1 of them
-- ARGV     tag, gen, client, generation, ttl in ms, how many older ones to keep
local key = KEYS[1]
local tag, gen = ARGV[1], tonumber(ARGV[2])
local old = redis.call('HMGET', key, 'tag', 'gen', 'n')
local n = tonumber(old[3] or '0')
if old[1] == tag and tonumber(old[2]) > gen then
  redis.call('PEXPIRE', key, ARGV[5], 'GT') -- it came late, and only prolongs what is there
  return 0
end
if old[1] ~= tag or tonumber(old[2]) < gen then
  n = n + 1
  redis.call('HDEL', key, 'g' .. (n - 1 - tonumber(ARGV[6])))
end
redis.call('HSET', key, 'tag', tag, 'gen', ARGV[2], 'n', n, 'client', ARGV[3], 'g' .. n, ARGV[4])
redis.call('PEXPIRE', key, ARGV[5])
return 1
