-- Messages of a tenant that wait for their time, the earliest first: one page of all tenants'.

local found, bytes, seen = {}, 0, 0
local page = call('ZRANGE', K.scheduled, A.from, A.from + A.page - 1, 'WITHSCORES')
for i = 1, #page, 2 do
  if bytes >= MAX_LISTED then break end
  seen = seen + 1
  local t, id = page[i]:match('^%d+%z([^%z]+)%z(.*)$')
  if t == A.tenant and #found < A.max then
    local v = call('HMGET', K.task(t, id), 'm', 'si', 'raw', 'q')
    if v[1] then
      bytes = bytes + #v[1]
      found[#found + 1] = { m = v[1], si = v[2], raw = v[3] or nil, q = v[4] }
    end
  end
end
return cmsgpack.pack({ found = found, seen = seen, over = seen == #page / 2 and #page < 2 * A.page })
