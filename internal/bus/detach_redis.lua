-- Removes an inbox, unless another reader has it.
--
-- KEYS[1]  stream: the inbox
-- KEYS[2]  string: the token of the reader that it belongs to
-- ARGV[1]  token of the caller
-- Returns how many keys were removed.
if redis.call('GET', KEYS[2]) ~= ARGV[1] then
  return 0
end
return redis.call('DEL', KEYS[1], KEYS[2])
