-- How much is in each queue of a tenant?

local t = A.tenant
local views, order = {}, {}

local function view(q)
  if not views[q] then
    views[q] = { name = q, r = 0, s = 0, b = 0, l = 0, x = 0, paused = false }
    order[#order + 1] = q
  end
  return views[q]
end

for _, queue in ipairs(call('ZRANGE', K.queues, 0, -1)) do
  local of, q = queue:match('^([^%z]*)%z(.*)$')
  if of == t then view(q) end
end
for _, queue in ipairs(call('SMEMBERS', K.paused)) do
  local of, q = queue:match('^([^%z]*)%z(.*)$')
  if of == t then view(q).paused = true end
end
local lines = call('HGETALL', K.lines(t))
for i = 1, #lines, 2 do
  local q, kind = lines[i]:match('^([^%z]*)%z(.)$')
  view(q)[kind] = tonumber(lines[i + 1])
end

-- The oldest of a list that can be taken, as its place and since when.
local function oldest_of(key)
  for from = 1, 256, 16 do
    local piece = call('LRANGE', key, -from - 15, -from)
    for i = #piece, 1, -1 do
      local pos, of, id = mark_of(piece[i])
      if of == t then
        local v = call('HMGET', K.task(t, id), 'pos', 'pl', 'si', 'sub')
        if v[1] == pos and (v[2] == 'r' or v[2] == 'o') then return tonumber(pos), tonumber(v[3] or v[4]) end
      end
    end
    if #piece < 16 then return nil end
  end
end

local found = {}
for _, q in ipairs(order) do
  local it, there = views[q], 0
  local oldest
  for step = 1, #STEPS do
    local key = K.list(t, q, step)
    local n = call('LLEN', key)
    there = there + n
    if n > 0 then
      local pos, since = oldest_of(key)
      if pos and (not oldest or pos < oldest) then oldest, it.since = pos, since end
    end
  end
  if there == 0 and it.x ~= 0 then
    -- Others took them.
    call('HDEL', K.lines(t), q .. '\0x')
    it.x = 0
  end
  it.r = math.max(it.r, there - it.x)
  found[#found + 1] = it
end
return cmsgpack.pack({ queues = found })
