-- Attaches a reader to an inbox, or keeps it attached.
--
-- KEYS[1]  stream: the inbox
-- KEYS[2]  string: the token of the reader that it belongs to
-- ARGV[1]  token of the caller
-- ARGV[2]  milliseconds for which the inbox lives without being kept
-- ARGV[3]  ID of the last record that the caller has read; '' to attach anew, in
--          place of any other reader
-- Returns '' when it was kept, '-' when it belongs to another reader, else the ID
-- of the marker, field "attach", after which the caller's records come.
local owner = redis.call('GET', KEYS[2])
if ARGV[3] ~= '' then
  if owner and owner ~= ARGV[1] then
    return '-'
  end
  if owner and redis.call('PEXPIRE', KEYS[1], ARGV[2]) == 1 then
    redis.call('PEXPIRE', KEYS[2], ARGV[2])
    redis.call('XTRIM', KEYS[1], 'MINID', ARGV[3])
    return ''
  end
end
redis.call('SET', KEYS[2], ARGV[1], 'PX', ARGV[2])
local id = redis.call('XADD', KEYS[1], '*', 'attach', ARGV[1])
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return id
