-- What has ended and whose followers have not been dealt with, the oldest first; no more than fits into memory.

local found, bytes = {}, 0

local function parts_of(one)
  local all = call('HVALS', K.parts(one.t, one.id))
  local parts = {}
  for _, text in ipairs(all) do
    local index, seq, arrival = text:match('^(%d+)%z(%d+)%z(.*)$')
    parts[#parts + 1] = { index = tonumber(index), seq = tonumber(seq), arrival = arrival }
    bytes = bytes + #arrival
  end
  table.sort(parts, function(a, b)
    if a.index ~= b.index then return a.index < b.index end
    return a.seq < b.seq
  end)
  local texts, sum = {}, 0
  for i, part in ipairs(parts) do
    sum = sum + #part.arrival
    if sum > MAX_BYTES then
      one.too_long = true
      break
    end
    texts[i] = part.arrival
  end
  return texts
end

local function chord_parts(one)
  local key = K.group(one.t, one.id)
  local j = key .. '.j'
  local parts = call('TYPE', j).ok == 'list' and call('LRANGE', j, 0, -1) or lenient('ZRANGE', j, 0, -1) or {}
  for _, part in ipairs(parts) do bytes = bytes + #part end
  return parts, lenient('GET', key) or nil
end

for _, key in ipairs(call('ZRANGE', K.ends, 0, A.max - 1)) do
  local text = call('HGET', K.ending, key)
  if text then
    local one = cmsgpack.unpack(text)
    one.key = tonumber(key)
    if one.kind == 'task' then
      bytes = bytes + #one.arrival
    elseif one.kind == 'join' then
      one.th = call('HGET', K.join(one.t, one.id), 'th') or 'N'
      one.parts = parts_of(one)
    else
      one.parts, one.nested = chord_parts(one)
    end
    if bytes > MAX_BYTES and #found > 0 then break end
    found[#found + 1] = one
  end
end
return cmsgpack.pack({ ended = found })
