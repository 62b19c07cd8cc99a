-- Gives a node with a lease a partition that no other node with a lease has.
--
-- KEYS[1]  hash: identity → lease, as in acquire_redis.lua
-- KEYS[2]  hash: identity → partition
-- ARGV[1]  identity
-- ARGV[2]  how many partitions there are
-- ARGV[3]  the partition that the node would like, -1 for none
-- Returns the partition, -1 when all are taken, -2 when the node has no lease.
if redis.call('HEXISTS', KEYS[1], ARGV[1]) == 0 then
  return -2
end
local limit = tonumber(ARGV[2])
local own = tonumber(redis.call('HGET', KEYS[2], ARGV[1]) or '-1')
if own >= 0 and own < limit then
  return own
end
local taken = {}
local all = redis.call('HGETALL', KEYS[2])
local holder = {}
for i = 1, #all, 2 do
  if redis.call('HEXISTS', KEYS[1], all[i]) == 1 then
    taken[tonumber(all[i + 1])] = true
  else
    holder[tonumber(all[i + 1])] = all[i]
  end
end
local partition = tonumber(ARGV[3])
if partition < 0 or partition >= limit or taken[partition] then
  partition = -1
  -- One that nobody has ever had first, so that whoever restarts finds its own.
  for p = 0, limit - 1 do
    if not taken[p] and not holder[p] then
      partition = p
      break
    end
  end
  for p = 0, limit - 1 do
    if partition < 0 and not taken[p] then
      partition = p
    end
  end
end
if partition < 0 then
  return -1
end
if holder[partition] then
  redis.call('HDEL', KEYS[2], holder[partition])
end
redis.call('HSET', KEYS[2], ARGV[1], partition)
return partition
