-- Notes how an attempt to push ended, unless another one has the claim by now.
--
-- KEYS[1]  ws:receipt:{id}, see claim.lua
-- ARGV[1]  the attempt's name
-- ARGV[2]  the state: failed, or nodes:<number>
-- ARGV[3]  ms for which the receipt is kept
--
-- Returns 1 if it is noted.
local id, begun, claimed, state = string.match(redis.call('GET', KEYS[1]) or '', '^(%S+) (%d+) (%d+) (%S+)$')
if state ~= 'by:' .. ARGV[1] then
  return 0
end
redis.call('SET', KEYS[1], id .. ' ' .. begun .. ' ' .. claimed .. ' ' .. ARGV[2], 'PX', ARGV[3])
return 1
