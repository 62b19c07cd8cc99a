-- The nodes of a room and the version of that list, at one moment.
--
-- KEYS[1]  ws:guid:nodes:{t}
-- KEYS[2]  ws:guid:version:{t}
--
-- Returns {version, nodes…}; the version is "0" when there is none.
local nodes = redis.call('SMEMBERS', KEYS[1])
table.insert(nodes, 1, redis.call('GET', KEYS[2]) or '0')
return nodes
