-- Periodic tasks: what is sent again and again, and the last of its times that has been dealt with.

-- The fields of a hash that are a tenant's, with their values.
local function of_tenant(key, t)
  local prefix, names = t .. '\0', {}
  for _, name in ipairs(call('HKEYS', key)) do
    if name:sub(1, #prefix) == prefix then names[#names + 1] = name end
  end
  local all = {}
  for _, name in ipairs(names) do
    all[#all + 1] = name
    all[#all + 1] = call('HGET', key, name)
  end
  return all
end

if A.what == 'all' then
  if A.tenant then return { of_tenant(K.periodic, A.tenant), of_tenant(K.runs, A.tenant) } end
  return { call('HGETALL', K.periodic), call('HGETALL', K.runs) }
elseif A.what == 'version' then
  return tonumber(call('HGET', K.counters, 'periodic') or 0)
end
local field = A.tenant .. '\0' .. A.name
if A.what == 'set' then
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
  if tonumber(slot) >= A.slot then return 0 end
  runs = tonumber(n)
end
call('HSET', K.runs, field, int(A.slot) .. ' ' .. int(A.at) .. ' ' .. int(runs + 1))
return 1
