-- Revokes a page of what has one of some labels, the older first: of what there was when the order was given. What waits in Celery's
-- own form may be a part of a chord, which only its message says: it is named, for the host to revoke by itself.

local upto = A.upto or int(counters().number)
-- Of each label so many are looked at; up to the first that may have more nothing is passed over.
local each = math.max(10, math.min(A.most, math.floor(20 * A.most / #A.labels)))
local last, numbers, all = tonumber(upto), {}, {}
for _, label in ipairs(A.labels) do
  local found = call('ZRANGE', K.stamp(A.tenant, label), '(' .. A.from, upto, 'BYSCORE', 'LIMIT', 0, each, 'WITHSCORES')
  for i = 1, #found, 2 do
    if not numbers[found[i]] then all[#all + 1] = found[i] end
    numbers[found[i]] = tonumber(found[i + 1])
  end
  if #found == 2 * each then last = math.min(last, numbers[found[#found - 1]]) end
end
table.sort(all, function(a, b) return numbers[a] < numbers[b] end)
if #all > A.most then last = math.min(last, numbers[all[A.most]]) end
local answers = {}
for i, id in ipairs(all) do
  if numbers[id] > last then break end
  local r = read_row(A.tenant, id)
  local waits_in_its_form = r and r.inl and r.pl ~= 'l' and r.pl ~= 'e'
  answers[i] = { id = id, found = not waits_in_its_form and order_end(A.tenant, id, A.now) or nil }
end
finish()
return cmsgpack.pack({ answers = answers, from = int(last), upto = upto, done = last >= tonumber(upto), rings = told() })
