-- Counts the heartbeat of a ws-api, and tells it of the others.
--
-- KEYS[1]  ws:{apis}:beats   hash: ws-api → "<beat> <version> <ms since 1970> <about>"
-- KEYS[2]  ws:{apis}:states  hash: ws-api → what it tells of itself, as JSON
-- ARGV[1]  ws-api
-- ARGV[2]  beat
-- ARGV[3]  version of what it tells
-- ARGV[4]  that; "" where Redis has been told already
-- ARGV[5]  ms after which those that are silent are forgotten
-- ARGV[6]  what people see of it
-- ARGV[7]… of others: ws-api and version that are known
-- Returns for each ws-api its name, beat, version, what it tells or "" where the version
-- is known, and what people see of it. Of the caller "" means that Redis has it.
local time = redis.call('TIME')
local ms = math.floor(time[1] * 1000 + time[2] / 1000)
redis.call('HSET', KEYS[1], ARGV[1], string.format('%s %s %.0f %s', ARGV[2], ARGV[3], ms, ARGV[6]))
if ARGV[4] ~= '' then
  redis.call('HSET', KEYS[2], ARGV[1], ARGV[4])
end
local known = {}
for i = 7, #ARGV, 2 do
  known[ARGV[i]] = ARGV[i + 1]
end
local reply = {}
local all = redis.call('HGETALL', KEYS[1])
for i = 1, #all, 2 do
  local name = all[i]
  local beat, version, at, about = string.match(all[i + 1], '^(%S+) (%S+) (%S+) (.*)$')
  if ms - tonumber(at) > tonumber(ARGV[5]) then
    redis.call('HDEL', KEYS[1], name)
    redis.call('HDEL', KEYS[2], name)
  else
    local state = ''
    if name == ARGV[1] then
      if redis.call('HEXISTS', KEYS[2], name) == 0 then
        state = 'lost'
      end
    elseif known[name] ~= version then
      state = redis.call('HGET', KEYS[2], name) or ''
    end
    reply[#reply + 1] = name
    reply[#reply + 1] = beat
    reply[#reply + 1] = version
    reply[#reply + 1] = state
    reply[#reply + 1] = about
  end
end
return reply
