-- Extends leases, also in the index by which Celery's workers tell what has been lost. Returns those that were lost.

local time = call('TIME')
local seconds = time[1] .. '.' .. string.format('%06d', time[2])
local held_until, indices, lost = {}, {}, {}
for i, one in ipairs(A.keys) do
  local t, id = one.tenant, one.id
  local v = call('HMGET', K.task(t, id), 'pl', 'tag')
  if v[1] == 'l' and v[2] == one.tag then
    held_until[#held_until + 1] = int(A['until'])
    held_until[#held_until + 1] = one.tag
    local of = indices[t] or {}
    indices[t] = of
    of[#of + 1] = seconds
    of[#of + 1] = one.tag
  else
    lost[#lost + 1] = i
  end
end
if #held_until > 0 then spread('ZADD', K.leases, held_until) end
for t, of in pairs(indices) do
  for from = 1, #of, 4000 do lenient('ZADD', K.unacked_index(t), 'XX', unpack(of, from, math.min(from + 3999, #of))) end
end
return cmsgpack.pack({ lost = lost })
