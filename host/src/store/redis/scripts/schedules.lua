-- Periodic tasks: what is sent again and again, and the last of its times that has been dealt with.

-- Some of a tenant's entries, with their runs: where the next ones begin ('0': there are no more), the entries, the runs. Those of
-- all tenants are in one hash, so that it is gone through in pieces, with others in between.
local function some_of(t)
  local found, runs = call('HSCAN', K.periodic, A.cursor, 'MATCH', t .. '\0*', 'COUNT', 1000), {}
  for i = 1, #found[2], 2 do
    local name = found[2][i]
    local run = call('HGET', K.runs, name)
    if run then
      runs[#runs + 1] = name
      runs[#runs + 1] = run
    end
  end
  return { found[1], found[2], runs }
end

if A.what == 'all' then
  return { '0', call('HGETALL', K.periodic), call('HGETALL', K.runs) }
elseif A.what == 'some' then
  return some_of(A.tenant)
elseif A.what == 'version' then
  return tonumber(call('HGET', K.counters, 'periodic') or 0)
end
if A.what == 'clear' then
  call('HINCRBY', K.counters, 'periodic', 1)
  local found = call('HSCAN', K.periodic, A.cursor, 'MATCH', A.tenant .. '\0*', 'COUNT', 1000)
  for i = 1, #found[2], 2 do
    call('HDEL', K.runs, found[2][i])
    call('HDEL', K.periodic, found[2][i])
  end
  return found[1]
end
local field = A.tenant .. '\0' .. A.name
if A.what == 'one' then
  return { call('HGET', K.periodic, field), call('HGET', K.runs, field) }
elseif A.what == 'set' then
  call('HINCRBY', K.counters, 'periodic', 1)
  return call('HSET', K.periodic, field, A.entry)
elseif A.what == 'remove' then
  call('HINCRBY', K.counters, 'periodic', 1)
  call('HDEL', K.runs, field)
  return call('HDEL', K.periodic, field)
end
if call('HEXISTS', K.periodic, field) == 0 then return 0 end
local runs = 0
local known = call('HGET', K.runs, field)
if known then
  local slot, n = known:match('^(%S+) %S+ (%S+)$')
  if tonumber(slot) >= A.slot and tonumber(slot) < A.wrong then return 0 end
  runs = tonumber(n)
end
call('HSET', K.runs, field, int(A.slot) .. ' ' .. int(A.at) .. ' ' .. int(runs + 1))
return 1
