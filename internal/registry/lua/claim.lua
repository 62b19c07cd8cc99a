-- Claims the push of a dedup_id for one attempt.
--
-- KEYS[1]  ws:receipt:{id}  "<message ID> <begun> <claimed> <state>", both times in µs;
--                           state: by:<attempt>, failed, or nodes:<number>
-- ARGV[1]  the message's ID, if this is the first attempt
-- ARGV[2]  a name for this attempt
-- ARGV[3]  ms for which the receipt is kept
-- ARGV[4]  µs after which an attempt that has not said how it ended is over
--
-- Returns {message ID, begun, state}: when the first attempt claimed it, and the state
-- before: "" for the first attempt. The caller has the claim, unless the state is nodes:…
-- or another attempt's whose time is not over, which is told as busy.
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local text = function(n) return string.format('%.0f', n) end
local id, begun, claimed, state = string.match(redis.call('GET', KEYS[1]) or '', '^(%S+) (%d+) (%d+) (%S+)$')
if not id then
  id, begun, state = ARGV[1], text(now), ''
elseif string.sub(state, 1, 3) == 'by:' then
  -- A clock that was set back does not make an attempt last for ever.
  if math.abs(now - tonumber(claimed)) < tonumber(ARGV[4]) then
    return {id, begun, 'busy'}
  end
elseif state ~= 'failed' then
  return {id, begun, state}
end
redis.call('SET', KEYS[1], id .. ' ' .. begun .. ' ' .. text(now) .. ' by:' .. ARGV[2], 'PX', ARGV[3])
return {id, begun, state}
