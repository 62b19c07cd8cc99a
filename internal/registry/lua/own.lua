-- Notes which clients a node holds.
--
-- KEYS[1]  ws:node:clients:{n}  sorted set of client IDs, all with score 0
-- KEYS[2]  ws:node:touched:{n}  see touch.lua
-- ARGV     client IDs
--
-- Returns what KEYS[2] holds, "" when there is none.
local set = {}
for i = 1, #ARGV do
  set[2 * i - 1] = '0'
  set[2 * i] = ARGV[i]
end
for i = 1, #set, 1000 do -- what one call takes is bounded
  redis.call('ZADD', KEYS[1], unpack(set, i, math.min(i + 999, #set)))
end
return redis.call('GET', KEYS[2]) or ''
