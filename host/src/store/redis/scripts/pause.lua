-- Stops leases from a queue, or lets them go on.

local queue = A.tenant .. '\0' .. A.queue
local changed
if A.paused then
  changed = call('SADD', K.paused, queue)
else
  changed = call('SREM', K.paused, queue)
  rings.ready = changed == 1
end
if changed == 1 then registry_changed() end
finish()
return cmsgpack.pack({ changed = changed == 1, rings = told() })
