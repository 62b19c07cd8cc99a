-- Appends a batch of events to their partitions, each event once however often the
-- batch is sent, and none that would make a partition longer than it may be.
--
-- KEYS[1]  string: the number of the producer's last event that was appended
-- KEYS[2]… streams: the partitions, 0 first
-- ARGV[1]  number of the first event of the batch; the others follow one by one
-- ARGV[2]  how many events a partition may hold
-- ARGV[3]  seconds for which the producer's number is kept
-- ARGV[4]… for each event: its partition, n, and n field names and values
-- Returns how many of the events, from the first, are now appended.
local last = tonumber(redis.call('GET', KEYS[1]) or '0')
local seq = tonumber(ARGV[1])
local limit = tonumber(ARGV[2])
local before = last
local taken = 0
local i = 4
while i <= #ARGV do
  local n = tonumber(ARGV[i + 1])
  if seq > last then
    local stream = KEYS[2 + tonumber(ARGV[i])]
    if redis.call('XLEN', stream) >= limit then
      break
    end
    redis.call('XADD', stream, '*', unpack(ARGV, i + 2, i + 1 + n))
    last = seq
  end
  taken = taken + 1
  seq = seq + 1
  i = i + 2 + n
end
if last ~= before then
  redis.call('SET', KEYS[1], string.format('%.0f', last), 'EX', ARGV[3])
end
return taken
