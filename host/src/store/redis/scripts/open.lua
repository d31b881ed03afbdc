-- Begins a host's time: its number, which no other one has, and the end of what it had leased when it was here before.

local known = tonumber(call('HGET', K.counters, 'schema') or SCHEMA)
if known > SCHEMA then return cmsgpack.pack({ newer = known }) end
call('HSET', K.counters, 'schema', SCHEMA)

local before, all = {}, call('HGETALL', K.hosts)
for i = 1, #all, 2 do
  if all[i + 1] == A.host then
    before[all[i]] = true
    call('HDEL', K.hosts, all[i])
  end
end
local opens = call('HINCRBY', K.counters, 'opens', 1)
local opening = string.format('%06x', opens)
call('HSET', K.hosts, opening, A.host)
if next(before) then
  for _, tag in ipairs(call('ZRANGE', K.leases, 0, -1)) do
    if before[tag:match('^lovage%-(%x%x%x%x%x%x)') or ''] then lapse(tag, A.now) end
  end
  put_back()
end
finish()
return cmsgpack.pack({ opening = opening, ends = call('EXISTS', K.ends) == 1 })
