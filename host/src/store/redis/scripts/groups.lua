-- Results of groups that somebody asked to keep, under Celery's keys.

local member = A.tenant and A.tenant .. '\0' .. A.id
if A.what == 'save' then
  local key = K.group(A.tenant, A.id)
  call('SETEX', key, TTL, A.text)
  call('PUBLISH', key, A.text)
  call('ZADD', K.groups, int(A.now), member)
  return 1
elseif A.what == 'read' then
  return lenient('GET', K.group(A.tenant, A.id))
elseif A.what == 'delete' then
  call('ZREM', K.groups, member)
  return call('DEL', K.group(A.tenant, A.id))
end
local old = call('ZRANGE', K.groups, '-inf', '(' .. int(A.before), 'BYSCORE', 'LIMIT', 0, A.max)
for _, one in ipairs(old) do
  local t, id = one:match('^([^%z]+)%z(.*)$')
  call('DEL', K.group(t, id))
  call('ZREM', K.groups, one)
end
return #old
