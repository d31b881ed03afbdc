-- Messages that wait for tasks or joins, in the order in which they were stored.

local answers = {}
for i, one in ipairs(A.awaited) do
  local found = {}
  for _, id in ipairs(call('ZRANGE', K.blocked(one.tenant, one.id), 0, A.max - 1)) do
    local v = call('HMGET', K.task(one.tenant, id), 'n', 'm')
    if v[1] then found[#found + 1] = { id = id, n = v[1], m = v[2] } end
  end
  answers[i] = found
end
return cmsgpack.pack({ answers = answers })
