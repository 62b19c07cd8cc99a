-- Looks for a message in a log.
--
-- KEYS[1]  ws:guid:log:{t}, see append.lua
-- ARGV[1]  the message's ID
-- ARGV[2]  µs: it was not appended before, and soon after that as a rule
-- ARGV[3]  window in ms: how long a message is kept
-- ARGV[4]  µs that are added to the clock (0, but for tests)
--
-- Returns {seq, prev} as text, {'none'}, or {'forgotten'} where what the log has dropped
-- since ARGV[2] might be it.
local from = ARGV[2]
while true do
  local entries = redis.call('XRANGE', KEYS[1], from, '+', 'COUNT', 64)
  if #entries == 0 then
    break
  end
  for _, e in ipairs(entries) do
    for i = 1, #e[2], 2 do
      if e[2][i] == 'X-ID' then
        if e[2][i + 1] == ARGV[1] then
          return {string.match(e[1], '^%d+'), e[2][2]}
        end
        break
      end
    end
  end
  from = '(' .. entries[#entries][1]
end
-- What was before the oldest entry is named by it; a log that is not there has expired if
-- it was to be.
local oldest = redis.call('XRANGE', KEYS[1], '-', '+', 'COUNT', 1)[1]
if oldest then
  return {tonumber(oldest[2][2]) >= tonumber(ARGV[2]) and 'forgotten' or 'none'}
end
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2] + tonumber(ARGV[4])
return {now - tonumber(ARGV[2]) > tonumber(ARGV[3]) * 1000 and 'forgotten' or 'none'}
