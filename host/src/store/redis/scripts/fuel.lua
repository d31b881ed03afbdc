-- How much fuel has each of these tenants used on a day? A field of what `settle` has counted.

local used = {}
for i, t in ipairs(A.tenants) do used[i] = call('HGET', K.metered(t), A.field) end
return used
