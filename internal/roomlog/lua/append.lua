-- Adds a message to a log.
--
-- KEYS[1]  ws:guid:log:{t}      stream; an entry's ID is <seq>-0
-- KEYS[2]  ws:guid:head:{t}     "<last seq> <bytes> <first seq>" of that stream
-- KEYS[3]  ws:guid:version:{t}  of the room's membership; absent for users and clients
-- ARGV[1]  a sequence below which no log begins
-- ARGV[2]  window in ms: how long a message is kept
-- ARGV[3]  how many messages are kept
-- ARGV[4]  how many bytes of messages are kept
-- ARGV[5]  µs that are added to the clock (0, but for tests)
-- ARGV[6]  the message's size
-- ARGV[7]… the entry's fields, name and value
--
-- Returns {seq, prev, version}, the numbers as text.
local log, head = KEYS[1], KEYS[2]
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2] + tonumber(ARGV[5])
local window, size = tonumber(ARGV[2]), tonumber(ARGV[6])
local text = function(n) return string.format('%.0f', n) end

local last, bytes, first = string.match(redis.call('GET', head) or '', '^(%d+) (%d+) (%d+)$')
local prev, seq = 0, nil
if last and redis.call('EXISTS', log) == 1 then
  last, bytes, first = tonumber(last), tonumber(bytes), tonumber(first)
  prev = last
  seq = math.max(now, last + 1)
else
  redis.call('DEL', log)
  seq = math.max(now, tonumber(ARGV[1]) + 1, (tonumber(last) or 0) + 1)
  bytes, first = 0, seq
end

local entry = {text(seq) .. '-0', 'prev', text(prev), 'size', ARGV[6]}
for i = 7, #ARGV do
  entry[#entry + 1] = ARGV[i]
end
redis.call('XADD', log, unpack(entry))
bytes = bytes + size

-- The oldest go while there are too many, too much or too old ones; the one that has
-- just come stays in any case.
local count = redis.call('XLEN', log)
local old = now - window * 1000
while count > 1 and (count > tonumber(ARGV[3]) or bytes > tonumber(ARGV[4]) or first < old) do
  local two = redis.call('XRANGE', log, '-', '+', 'COUNT', 2)
  redis.call('XDEL', log, two[1][1])
  bytes = bytes - tonumber(two[1][2][4])
  first = tonumber(string.match(two[2][1], '^%d+'))
  count = count - 1
end

redis.call('SET', head, text(seq) .. ' ' .. text(bytes) .. ' ' .. text(first), 'PX', ARGV[2])
redis.call('PEXPIRE', log, ARGV[2])
return {text(seq), text(prev), KEYS[3] and redis.call('GET', KEYS[3]) or '0'}
