-- Lets messages that were postponed to a time be leased at once.

-- Moves one into its line, or leaves that to the next lease.
local function hasten(t, id, r)
  if not is_enough_back() then return to_its_line(t, id, r, A.now, A.now) end
  local member = member_of(r.pos, t, id)
  for _, key in ipairs({ K.scheduled, K.later(t, r.q) }) do call('ZADD', key, int(A.now), member) end
  call('HSET', K.task(t, id), 'si', int(A.now))
  rings.ready = true
end

local hastened = 0
for _, one in ipairs(A.batch) do
  local r = read_row(one.tenant, one.id)
  if r and r.pl == 's' and r.n == one.n and r.si == one.si then
    hasten(one.tenant, one.id, r)
    hastened = hastened + 1
  end
end
put_back()
finish()
return cmsgpack.pack({ hastened = hastened, rings = told() })
