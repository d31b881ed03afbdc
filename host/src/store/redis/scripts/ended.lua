-- What has ended and whose followers have not been dealt with, the oldest first; no more than fits into memory. Sizes are looked
-- at before anything is read: of what is too large by itself that alone is told, since nobody could read it, now or ever.

local found, bytes = {}, 0
-- Clients write the parts of chords in Celery's form as well, as many and as large as they like: so many are read at once, and each
-- counts for so many bytes more than it has.
local PIECE, EACH = 16, 128

-- How long the ends of all parts of a join are together. Joins of older versions did not count it.
local function bytes_of(one, counted)
  if counted then return tonumber(counted) end
  local key, sum = K.parts(one.t, one.id), 0
  for _, part in ipairs(call('HKEYS', key)) do sum = sum + call('HSTRLEN', key, part) end
  return sum
end

-- The parts of a join, by their place, the older first within one: each as it is kept, since to cut its head off would copy it.
local function parts_of(one)
  local parts = {}
  for _, text in ipairs(call('HVALS', K.parts(one.t, one.id))) do
    local first = text:find('\0', 1, true)
    local second = text:find('\0', first + 1, true)
    parts[#parts + 1] = { index = tonumber(text:sub(1, first - 1)), seq = tonumber(text:sub(first + 1, second - 1)), text = text }
  end
  table.sort(parts, function(a, b)
    if a.index ~= b.index then return a.index < b.index end
    return a.seq < b.seq
  end)
  for i, part in ipairs(parts) do parts[i] = part.text end
  return parts
end

-- These add to an end what it came to, and say how much that is; nothing, if there is room for it only when it comes first.

local function add_join(one, room)
  local v = call('HMGET', K.join(one.t, one.id), 'th', 'by')
  one.th, one.parts = v[1] or 'N', {}
  local sum = bytes_of(one, v[2])
  one.too_long = sum > MAX_BYTES
  if one.too_long then return 0 end
  if sum > room then return nil end
  one.parts = parts_of(one)
  return sum
end

local function add_chord(one, room)
  local key = K.group(one.t, one.id)
  local j, sum, parts = key .. '.j', lenient('STRLEN', key) or 0, {}
  local command = call('TYPE', j).ok == 'list' and 'LRANGE' or 'ZRANGE'
  local is_over = sum > MAX_LISTED
  while not is_over and sum <= room do
    local piece = lenient(command, j, #parts, #parts + PIECE - 1) or {}
    for _, part in ipairs(piece) do
      parts[#parts + 1] = part
      sum = sum + #part + EACH
    end
    if #piece < PIECE then break end
  end
  is_over = is_over or sum > MAX_BYTES
  one.too_long = is_over
  one.parts = is_over and {} or parts
  if is_over then return 0 end
  if sum > room then return nil end
  one.nested = lenient('GET', key) or nil
  return sum
end

for _, key in ipairs(call('ZRANGE', K.ends, 0, A.max - 1)) do
  local size = call('HSTRLEN', K.ending, key)
  if #found > 0 and bytes + size > MAX_BYTES then break end
  local text = call('HGET', K.ending, key)
  if text then
    local one = cmsgpack.unpack(text)
    one.key = tonumber(key)
    local room, more = #found == 0 and MAX_BYTES or MAX_BYTES - bytes - size, 0
    if one.kind == 'join' then more = add_join(one, room) end
    if one.kind == 'chord' then more = add_chord(one, room) end
    if not more then break end
    bytes = bytes + size + more
    found[#found + 1] = one
  end
end
return cmsgpack.pack({ ended = found })
