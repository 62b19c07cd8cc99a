-- Changes fields of a hash that still have the value which the caller has seen.
--
-- KEYS[1]  hash
-- ARGV     triples: field, expected value ('' for none), new value ('' to remove it)
-- Returns the fields that were changed.
local changed = {}
for i = 1, #ARGV, 3 do
  if (redis.call('HGET', KEYS[1], ARGV[i]) or '') == ARGV[i + 1] then
    if ARGV[i + 2] == '' then
      redis.call('HDEL', KEYS[1], ARGV[i])
    else
      redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 2])
    end
    changed[#changed + 1] = ARGV[i]
  end
end
return changed
