-- Notes that a client's sets have been told of all that it left; a client that has
-- gone altogether is forgotten.
--
-- KEYS[1]  ws:client:{id}, see client.lua
-- ARGV[1]  v, as it was when the sets were told
--
-- Returns 1; 0 when the client has been changed meanwhile, so that its sets have to
-- be told once more; 2 when it is not known any more.
local key = KEYS[1]
local v = redis.call('HGET', key, 'v')
if not v then
  return 2
elseif v ~= ARGV[1] then
  return 0
end
if redis.call('HEXISTS', key, 'bye') == 1 then
  redis.call('DEL', key)
  return 1
end
local flat = redis.call('HGETALL', key)
for i = 1, #flat, 2 do
  local kind = string.sub(flat[i], 1, 2)
  if kind == 'f:' or (kind == 'r:' and flat[i + 1] == '0') then
    redis.call('HDEL', key, flat[i])
  end
end
return 1
