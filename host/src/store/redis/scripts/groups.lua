-- Results of groups that somebody asked to keep, under Celery's keys.

-- Drops a group, with its part of its tenant's room; whether it was there.
local function drop(t, id)
  local size = call('HGET', K.group_sizes(t), id)
  if size then
    call('HDEL', K.group_sizes(t), id)
    call('DECRBY', K.value_room(t), size)
  end
  call('ZREM', K.groups, t .. '\0' .. id)
  return call('DEL', K.group(t, id))
end

if A.what == 'save' then
  local key, sizes = K.group(A.tenant, A.id), K.group_sizes(A.tenant)
  if not take_room(A.tenant, tonumber(call('HGET', sizes, A.id) or 0), A.size, A.most_bytes) then return 0 end
  call('SETEX', key, TTL, A.text)
  call('PUBLISH', key, A.text)
  call('ZADD', K.groups, int(A.now), A.tenant .. '\0' .. A.id)
  call('HSET', sizes, A.id, int(A.size))
  return 1
elseif A.what == 'read' then
  return lenient('GET', K.group(A.tenant, A.id))
elseif A.what == 'delete' then
  return drop(A.tenant, A.id)
elseif A.what == 'clear' then
  -- Some of them; whether there may be more.
  for _, id in ipairs(call('HRANDFIELD', K.group_sizes(A.tenant), 1000)) do drop(A.tenant, id) end
  return call('EXISTS', K.group_sizes(A.tenant))
elseif A.what == 'sweep' then
  -- Those that were kept before their sizes were: a page of all groups that there are; where the next one begins.
  local page, prefix = call('ZSCAN', K.groups, A.cursor, 'COUNT', 1000), A.tenant .. '\0'
  for at = 1, #page[2], 2 do
    local one = page[2][at]
    if one:sub(1, #prefix) == prefix then drop(A.tenant, one:sub(#prefix + 1)) end
  end
  return page[1]
end
local old = call('ZRANGE', K.groups, '-inf', '(' .. int(A.before), 'BYSCORE', 'LIMIT', 0, A.max)
for _, one in ipairs(old) do
  drop(one:match('^([^%z]+)%z(.*)$'))
end
return #old
