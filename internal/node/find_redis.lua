-- Returns the partition of a node, -1 when it has no lease or no partition.
--
-- KEYS[1]  hash: identity → lease, as in acquire_redis.lua
-- KEYS[2]  hash: identity → partition
-- ARGV[1]  identity
if redis.call('HEXISTS', KEYS[1], ARGV[1]) == 0 then
  return -1
end
return tonumber(redis.call('HGET', KEYS[2], ARGV[1]) or '-1')
