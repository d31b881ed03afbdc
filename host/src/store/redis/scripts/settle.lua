-- Ends attempts, each whole or not at all, while their leases hold.

local APPLIED = { kind = 'applied' }
-- What each tenant has used on each day: a settlement tells the day, and how much of each of these.
local METERS, metered = { 'a', 'f', 'c', 'm' }, {}

local function meter(t, used)
  local sums = within(within(metered, t), used[1])
  for i = 1, #METERS do sums[i] = (sums[i] or 0) + used[i + 1] end
end

local function settle(s)
  local t, id = s.tenant, s.id
  local r = read_row(t, id, not (s.swap or s.requeue or s.plan or s.doubtful) and ENDING or nil)
  if not r or r.pl ~= 'l' or r.tag ~= s.tag then
    -- The answer to the first time was lost on its way.
    if s.doubtful and r and (r.last == s.tag or r.pl == 'e' and r.tag == s.tag) then return { kind = 'applied' } end
    return { kind = 'refused' }
  end
  if s.plan then
    local taken = clash(t, s.plan)
    if taken then return { kind = 'taken', id = taken } end
    local descendants = tonumber(call('GET', K.descendants(t, r.ro or id)) or 0)
    local quota = full(t, s.plan, s.room, descendants, s.at)
    if quota then return { kind = quota } end
  end
  if s.requeue then
    local text = lenient('HGET', K.unacked(t), r.tag)
    if not text then return { kind = 'refused' } end
    s.element = without_place(text, r.q)
  end
  -- Whoever took the element back has it on a list again: it is delivered once more, and that one counts.
  if lenient('HDEL', K.unacked(t), r.tag) ~= 1 then return { kind = 'refused' } end
  if s.used then meter(t, s.used) end
  conclude(t, id, r, s)
  if s.inline then apply_inline(t, s.inline, s.at) end
  return APPLIED
end

local answers = {}
for i, s in ipairs(A.batch) do answers[i] = settle(s) end
for t, days in pairs(metered) do
  for day, sums in pairs(days) do
    for i, what in ipairs(METERS) do add(K.metered(t), int(day) .. ':' .. what, sums[i]) end
  end
end
finish()
return cmsgpack.pack({ answers = answers, rings = told() })
