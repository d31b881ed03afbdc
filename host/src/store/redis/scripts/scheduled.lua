-- Messages of a tenant that wait for their time, the earliest first: of its own queues, however many others have.

local t, waiting = A.tenant, {}
for _, line in ipairs(call('HKEYS', K.lines(t))) do
  local q = line:match('^([^%z]*)%zs$')
  local first = q and call('ZRANGE', K.later(t, q), 0, A.max - 1, 'WITHSCORES') or {}
  for i = 1, #first, 2 do waiting[#waiting + 1] = { member = first[i], at = tonumber(first[i + 1]) } end
end
table.sort(waiting, function(a, b)
  if a.at ~= b.at then return a.at < b.at end
  return a.member < b.member
end)
local found, bytes = {}, 0
for _, one in ipairs(waiting) do
  if #found == A.max or bytes >= MAX_LISTED then break end
  local v = call('HMGET', K.task(t, one.member:match('^%d+%z[^%z]+%z(.*)$')), 'm', 'si', 'raw', 'q', 'pl')
  if v[1] and v[5] == 's' then
    bytes = bytes + #v[1]
    found[#found + 1] = { m = v[1], si = v[2], raw = v[3] or nil, q = v[4] }
  end
end
return cmsgpack.pack({ found = found })
