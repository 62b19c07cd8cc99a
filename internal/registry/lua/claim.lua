-- Claims the push of a dedup_id for one attempt.
--
-- KEYS[1]  ws:receipt:{id}  "<message ID> <begun> <claimed> <state>", both times in µs;
--          ws:answers:{id}  the same for a push that waits for answers.
--                           state: by:<attempt>, asked:<until>:<attempt>, failed, lost,
--                           nodes:<number> or answer:<bytes>
-- ARGV[1]  the message's ID, if this is the first attempt
-- ARGV[2]  a name for this attempt
-- ARGV[3]  ms for which the receipt is kept
-- ARGV[4]  µs after which an attempt that has not said how it ended is over
--
-- Returns {message ID, begun, state}: when the first attempt claimed it, and the state
-- before: "" for the first attempt. The caller has the claim if that is "", failed, or
-- by: of an attempt whose time is over. One whose time is not is told as busy; where it had
-- asked clients, and its time is over, as lost.
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local text = function(n) return string.format('%.0f', n) end
local id, begun, claimed, state = string.match(redis.call('GET', KEYS[1]) or '', '^(%S+) (%d+) (%d+) (.+)$')
if not id then
  id, begun, state = ARGV[1], text(now), ''
elseif string.sub(state, 1, 3) == 'by:' then
  -- A clock that was set back does not make an attempt last for ever.
  if math.abs(now - tonumber(claimed)) < tonumber(ARGV[4]) then
    return {id, begun, 'busy'}
  end
elseif string.sub(state, 1, 6) == 'asked:' then
  return {id, begun, now < tonumber(string.match(state, '^asked:(%d+)')) and 'busy' or 'lost'}
elseif state ~= 'failed' then
  return {id, begun, state}
end
redis.call('SET', KEYS[1], id .. ' ' .. begun .. ' ' .. text(now) .. ' by:' .. ARGV[2], 'PX', ARGV[3])
return {id, begun, state}
