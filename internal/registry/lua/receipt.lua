-- Notes how far an attempt to push has come, unless another one has the claim by now.
--
-- KEYS[1]  ws:receipt:{id} or ws:answers:{id}, see claim.lua
-- ARGV[1]  the attempt's name
-- ARGV[2]  the state: asked, failed, lost, nodes:<number> or answer:<bytes>
-- ARGV[3]  ms for which the receipt is kept
-- ARGV[4]  of asked: µs from now on, after which the answers are lost
--
-- Returns 1 if it is noted.
local id, begun, claimed, state = string.match(redis.call('GET', KEYS[1]) or '', '^(%S+) (%d+) (%d+) (.+)$')
local by = id and (string.match(state, '^by:(.*)$') or string.match(state, '^asked:%d+:(.*)$'))
if by ~= ARGV[1] then
  return 0
end
local now = ARGV[2]
if now == 'asked' then
  local time = redis.call('TIME')
  now = string.format('asked:%.0f:%s', time[1] * 1000000 + time[2] + ARGV[4], by)
end
redis.call('SET', KEYS[1], id .. ' ' .. begun .. ' ' .. claimed .. ' ' .. now, 'PX', ARGV[3])
return 1
