-- Revokes a task that waits.

local found = order_end(A.tenant, A.id, A.now)
if found.kind == 'waiting' then
  for _, one in ipairs(A.metas) do put_meta(A.tenant, one[1], one[2]) end
  for _, part in ipairs(A.parts) do return_part(A.tenant, part) end
end
finish()
return cmsgpack.pack({ found = found, rings = told() })
