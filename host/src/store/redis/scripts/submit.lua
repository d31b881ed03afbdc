-- Stores plans, each whole or not at all.

local answers = {}
for i, plan in ipairs(A.plans) do
  local taken, whole = clash(A.tenant, plan)
  local quota = not taken and full(A.tenant, plan, A.room, nil, A.now)
  if taken then
    answers[i] = whole and { kind = 'exists' } or { kind = 'taken', id = taken }
  elseif quota then
    answers[i] = { kind = quota }
  else
    store_joins(A.tenant, plan)
    store_tasks(A.tenant, plan, A.now)
    answers[i] = { kind = 'stored' }
  end
end
finish()
return cmsgpack.pack({ answers = answers, rings = told() })
