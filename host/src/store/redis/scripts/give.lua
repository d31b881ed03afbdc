-- Gives messages back without an outcome: to their old place, or to wait there until a time.

local answers = {}
for i, one in ipairs(A.batch) do
  local t, id = one.tenant, one.id
  local r = read_row(t, id)
  if r and r.pl == 'l' and r.tag == one.tag then
    local f = {}
    local text = end_lease(f, t, id, r)
    if not one.begun then set(f, 'de', tonumber(r.de) - 1) end
    if one['until'] then
      schedule(f, t, id, r, one['until'], text and without_place(text, r.q) or '', A.now)
    else
      ready_again(f, t, id, r, text and returned(text, r, t, id, one.begun), A.now)
    end
    write_row(t, id, f)
    answers[i] = true
  else
    answers[i] = false
  end
end
put_back()
finish()
return cmsgpack.pack({ answers = answers, rings = told() })
