-- Periodic tasks: what is sent again and again, and the last of its times that has been dealt with.

local field = A.tenant and A.tenant .. '\0' .. A.name
if A.what == 'all' then
  return { call('HGETALL', K.periodic), call('HGETALL', K.runs) }
elseif A.what == 'set' then
  return call('HSET', K.periodic, field, A.entry)
elseif A.what == 'remove' then
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
