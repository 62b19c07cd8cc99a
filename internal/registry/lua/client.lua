-- Changes what is known of one client, and tells which sets follow from it.
--
-- KEYS[1]  ws:client:{id}, a hash:
--            node, ns, uid   where the client is and who it is
--            info            the rest of it as JSON
--            seen            ms of its last change
--            v               grows with each change, and begins at the clock in µs: a record
--                            that is made anew is never taken for the one before
--            bye             it has left; the sets have not all been told yet
--            r:<room>        1: it is in the room; 0: it left, the room has not been told yet
--            f:<node>        it moved from there; that node's sets have not been told yet
-- ARGV[1]  connect, mend, join, leave, disconnect, drop (a disconnect of what has not
--          been changed), or state (which changes nothing)
-- ARGV[2]  the node that says so; "" for state
-- ARGV[3]  seen; drop: v; mend: ms at which the client came to that node
-- ARGV[4]… connect, mend: ns, uid, info, rooms…; join and leave: rooms…
--
-- Returns nothing when there is nothing to do: the client is not known at that node,
-- or, for mend, known at another one that had news of it later.
-- Else {v, ns, uid, node, bye, known, rooms that it is in…} and the lists of rooms
-- and nodes that it has left: {{v, ns, uid, node, bye, known}, in, left, from}. known
-- is 0 when connect has made the record, 2 when it had been disconnected before. bye after a connect says that a former
-- client of this ID has to be taken out of its sets first, and connect sent again.
local key, op, node = KEYS[1], ARGV[1], ARGV[2]
local flat = redis.call('HGETALL', key)
local h = {}
for i = 1, #flat, 2 do
  h[flat[i]] = flat[i + 1]
end
local known = h.node and '1' or '0'

local seen = ARGV[3]
if op == 'mend' then
  if h.node and h.node ~= node and tonumber(h.seen) >= tonumber(seen) then
    return nil
  end
  op, seen = 'connect', h.seen or seen
end

if op == 'drop' then
  if h.v ~= ARGV[3] then
    return nil
  end
  op = 'disconnect'
end

if op == 'connect' then
  local ns, uid = ARGV[4], ARGV[5]
  if h.node and (h.bye or h.ns ~= ns or h.uid ~= uid) then
    op = 'forget'
  else
    local stated = {}
    local set = {'node', node, 'ns', ns, 'uid', uid, 'info', ARGV[6], 'seen', seen}
    for i = 7, #ARGV do
      local field = 'r:' .. ARGV[i]
      if not stated[field] then
        stated[field] = true
        set[#set + 1] = field
        set[#set + 1] = '1'
      end
    end
    for field, value in pairs(h) do
      if string.sub(field, 1, 2) == 'r:' and not stated[field] then
        set[#set + 1] = field
        set[#set + 1] = '0'
      end
    end
    if h.node and h.node ~= node then
      set[#set + 1] = 'f:' .. h.node
      set[#set + 1] = '1'
      redis.call('HDEL', key, 'f:' .. node)
      h['f:' .. node] = nil
    end
    for i = 1, #set, 2 do
      h[set[i]] = set[i + 1]
    end
    for i = 1, #set, 100 do -- what one call takes is bounded
      redis.call('HSET', key, unpack(set, i, math.min(i + 99, #set)))
    end
  end
elseif not h.node then
  return nil
elseif op ~= 'state' and (h.node ~= node or (h.bye and op ~= 'disconnect')) then
  return nil
elseif op == 'join' or op == 'leave' then
  local value = op == 'join' and '1' or '0'
  redis.call('HSET', key, 'seen', ARGV[3])
  for i = 4, #ARGV do
    local field = 'r:' .. ARGV[i]
    if op == 'join' or h[field] then
      redis.call('HSET', key, field, value)
      h[field] = value
    end
  end
end

if op == 'disconnect' or op == 'forget' then
  if h.bye then
    known = '2'
  end
  redis.call('HSET', key, 'bye', '1')
  h.bye = '1'
  for field, value in pairs(h) do
    if value == '1' and string.sub(field, 1, 2) == 'r:' then
      redis.call('HSET', key, field, '0')
      h[field] = '0'
    end
  end
end
local v = h.v or '0'
if op ~= 'state' then
  local now = redis.call('TIME')
  v = string.format('%.0f', math.max(now[1] * 1000000 + now[2], tonumber(v) + 1))
  redis.call('HSET', key, 'v', v)
end

local inside, left, from = {}, {}, {}
for field, value in pairs(h) do
  local kind = string.sub(field, 1, 2)
  if kind == 'r:' then
    local list = value == '1' and inside or left
    list[#list + 1] = string.sub(field, 3)
  elseif kind == 'f:' then
    from[#from + 1] = string.sub(field, 3)
  end
end
return {{v, h.ns, h.uid, h.node, h.bye and '1' or '0', known}, inside, left, from}
