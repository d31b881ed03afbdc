-- Revokes what has one of some labels, the older first.

local numbers, all = {}, {}
for _, label in ipairs(A.labels) do
  local found = call('ZRANGE', K.stamp(A.tenant, label), 0, -1, 'WITHSCORES')
  for i = 1, #found, 2 do
    if not numbers[found[i]] then all[#all + 1] = found[i] end
    numbers[found[i]] = tonumber(found[i + 1])
  end
end
table.sort(all, function(a, b) return numbers[a] < numbers[b] end)
local answers = {}
for i, id in ipairs(all) do answers[i] = { id = id, found = order_end(A.tenant, id, A.now) } end
finish()
return cmsgpack.pack({ answers = answers, rings = told() })
