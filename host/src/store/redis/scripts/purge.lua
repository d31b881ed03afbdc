-- Revokes a page of what waits in a queue: of each list no more than was there when the order was given.

local t, q = A.tenant, A.queue
local rest, doomed, foreign = {}, {}, 0

local function doom(id, r)
  doomed[#doomed + 1] = { id = id, n = tonumber(r.n) }
end

-- The id that a client gave its message, as a text: kombu writes an object for a UUID of Python's.
local function text_of(id)
  if type(id) == 'string' then return id end
  local value = type(id) == 'table' and id.__type__ == 'uuid' and id.__value__
  local hex = type(value) == 'table' and type(value.hex) == 'string' and value.hex:gsub('%-', ''):lower()
  if not hex or #hex ~= 32 or hex:find('%X') then return nil end
  return (hex:gsub('^(........)(....)(....)(....)', '%1-%2-%3-%4-'))
end

local function of_element(raw)
  local pos, of, id = mark_of(raw)
  if of == t then
    local r = read_row(t, id)
    -- Whatever it was, it is gone from its list.
    count(t, q, 'x', -1)
    if r and r.pos == pos and (r.pl == 'r' or r.pl == 'o') then doom(id, r) end
    return
  end
  foreign = foreign + 1
  local is_read, msg = pcall(cjson.decode, raw)
  local h = is_read and type(msg) == 'table' and type(msg.headers) == 'table' and msg.headers
  local named = h and text_of(h.id)
  if named and not exists(t, named) then
    put_meta(t, named, A.meta_head .. cjson.encode(named) .. A.meta_tail)
  end
end

-- A page ends after so many bytes, too.
local bytes, left = 0, A.most
for step = 1, #STEPS do
  local key = K.list(t, q, step)
  local there = A.rest and A.rest[step] or lenient('LLEN', key) or 0
  while there > 0 and left > 0 and bytes < MAX_MOVED do
    local raw = lenient('RPOP', key)
    if raw then
      there, left, bytes = there - 1, left - 1, bytes + #raw
      of_element(raw)
    else
      -- Others took the rest.
      there = 0
    end
  end
  rest[step] = there
end
local later = {}
if left > 0 then later = call('ZRANGE', K.later(t, q), 0, left - 1) end
for _, member in ipairs(later) do
  local id = member:match('^%d+%z[^%z]+%z(.*)$')
  local r = read_row(t, id)
  if r and r.pl == 's' then
    doom(id, r)
  else
    call('ZREM', K.later(t, q), member)
  end
end
table.sort(doomed, function(a, b) return a.n < b.n end)
local purged = foreign
for _, one in ipairs(doomed) do
  local r = read_row(t, one.id)
  if r and r.pl ~= 'e' and r.pl ~= 'l' then
    revoked(t, one.id, r, A.now)
    purged = purged + 1
  end
end
local done = left > #later and bytes < MAX_MOVED
finish()
return cmsgpack.pack({ purged = purged, rest = rest, done = done, rings = told() })
