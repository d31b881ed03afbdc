-- Revokes what has one of some labels, the older first. What waits in Celery's own form may be a part of a chord, which only its
-- message says: it is named, for the host to revoke by itself.

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
for i, id in ipairs(all) do
  local r = read_row(A.tenant, id)
  local waits_in_its_form = r and r.inl and r.pl ~= 'l' and r.pl ~= 'e'
  answers[i] = { id = id, found = not waits_in_its_form and order_end(A.tenant, id, A.now) or nil }
end
finish()
return cmsgpack.pack({ answers = answers, rings = told() })
