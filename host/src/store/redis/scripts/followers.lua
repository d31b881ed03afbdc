-- Messages that wait for tasks or joins, in the order in which they were stored.

local bytes = 0

-- The one that waits for something, if no other does and its message is short.
local function only_one(one)
  local ids = call('ZRANGE', K.blocked(one.tenant, one.id), 0, 1)
  if #ids ~= 1 then return {} end
  local key = K.task(one.tenant, ids[1])
  local size = call('HSTRLEN', key, 'm')
  bytes = bytes + size
  if size > A.brief or bytes > MAX_LISTED then return {} end
  local v = call('HMGET', key, 'n', 'm')
  return v[1] and { { id = ids[1], n = v[1], m = v[2] } } or {}
end

-- The first of those that wait, as many as fit into memory: but never so few, or all but so few, that one of several would look like
-- the only one.
local function first_ones(one)
  local waiting, found = K.blocked(one.tenant, one.id), {}
  local left = call('ZCARD', waiting)
  for _, id in ipairs(call('ZRANGE', waiting, 0, A.max - 1)) do
    if bytes > MAX_LISTED and #found > 1 and left > 1 then break end
    local v = call('HMGET', K.task(one.tenant, id), 'n', 'm')
    left = left - 1
    if v[1] then
      found[#found + 1] = { id = id, n = v[1], m = v[2] }
      bytes = bytes + #v[2]
    end
  end
  return found
end

local answers = {}
for i, one in ipairs(A.awaited) do answers[i] = A.brief and only_one(one) or first_ones(one) end
return cmsgpack.pack({ answers = answers })
