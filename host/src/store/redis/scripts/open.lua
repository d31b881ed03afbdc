-- Begins a host's time: its number, which no other one has, and the end of what it had leased when it was here before.

local known = tonumber(call('HGET', K.counters, 'schema') or SCHEMA)
if known > SCHEMA then return cmsgpack.pack({ newer = known }) end

-- From 1 to 2: what is ours of a tenant was below its clients' keys, and the names of buckets did not count.
local function migrate()
  local cursor, old = '0', {}
  repeat
    local page = call('SCAN', cursor, 'MATCH', '*lovage:{*}:lovage:*', 'COUNT', 10000)
    cursor = page[1]
    for _, key in ipairs(page[2]) do
      if key:sub(1, #OURS) == OURS then old[#old + 1] = key end
    end
  until cursor == '0'
  for _, key in ipairs(old) do
    local t, rest = key:sub(#OURS + 1):match('^{([^}]*)}:lovage:(.*)$')
    if t then call('RENAME', key, OURS .. 'of:{' .. t .. '}:' .. rest) end
  end
  local tenants = call('HKEYS', K.registered)
  tenants[#tenants + 1] = 'default'
  for _, t in ipairs(tenants) do
    local bytes = 0
    for _, bucket in ipairs(call('SMEMBERS', K.value_buckets(t))) do
      bytes = bytes + #bucket * call('HLEN', K.values(t, bucket))
    end
    if bytes > 0 then call('INCRBY', K.value_room(t), int(bytes)) end
  end
end

if known < 2 then migrate() end
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
  -- As in a lease the newest first; what is too much for one call lapses with the next lease.
  for _, tag in ipairs(call('ZRANGE', K.leases, 0, -1, 'REV')) do
    if before[tag:match('^lovage%-(%x%x%x%x%x%x)') or ''] then
      if is_enough_back() then zadd(K.leases, int(A.now), tag) else lapse(tag, A.now) end
    end
  end
  put_back()
end
finish()
return cmsgpack.pack({ opening = opening, ends = call('EXISTS', K.ends) == 1 })
