-- Revokes a task that waits.

local found = order_end(A.tenant, A.id, A.now, A.part)
finish()
return cmsgpack.pack({ found = found, rings = told() })
