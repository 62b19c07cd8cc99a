-- Members and nodes of one room, or of a whole namespace, come and go. Each step
-- may be repeated.
--
-- KEYS[1]  ws:guid:clients:{t}  sorted set of client IDs, all with score 0
-- KEYS[2]  ws:guid:users:{t}    hash, uid → number of its clients in there
-- KEYS[3]  ws:guid:nodes:{t}    set of the nodes that have entered
-- KEYS[4]  ws:guid:version:{t}  of that set: begins at the clock in µs and grows
-- ARGV[1]  how many seconds a version is kept when no node is left
-- ARGV[2]… steps: + id uid | - id uid | E node | X node
local function changed()
  local now = redis.call('TIME')
  local version = now[1] * 1000000 + now[2]
  local last = tonumber(redis.call('GET', KEYS[4]) or '0')
  if version <= last then
    version = last + 1
  end
  redis.call('SET', KEYS[4], string.format('%.0f', version))
end

local i = 2
while i <= #ARGV do
  local step, who = ARGV[i], ARGV[i + 1]
  if step == '+' then
    local uid = ARGV[i + 2]
    if redis.call('ZADD', KEYS[1], 0, who) == 1 and uid ~= '' then
      redis.call('HINCRBY', KEYS[2], uid, 1)
    end
    i = i + 3
  elseif step == '-' then
    local uid = ARGV[i + 2]
    if redis.call('ZREM', KEYS[1], who) == 1 and uid ~= '' then
      if redis.call('HINCRBY', KEYS[2], uid, -1) <= 0 then
        redis.call('HDEL', KEYS[2], uid)
      end
      if redis.call('EXISTS', KEYS[1]) == 0 then
        redis.call('DEL', KEYS[2])
      end
    end
    i = i + 3
  elseif step == 'E' then
    if redis.call('SADD', KEYS[3], who) == 1 then
      changed()
    end
    i = i + 2
  else
    if redis.call('SREM', KEYS[3], who) == 1 then
      changed()
      if redis.call('EXISTS', KEYS[3]) == 0 then
        redis.call('EXPIRE', KEYS[4], ARGV[1])
      end
    end
    i = i + 2
  end
end
return 0
