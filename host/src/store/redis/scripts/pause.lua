-- Stops leases from a queue, unless `most` others of its tenant are paused, or lets them go on.

local of_tenant = A.tenant .. '\0'
local queue = of_tenant .. A.queue
local changed, full = false, false
if (call('SISMEMBER', K.paused, queue) == 1) == A.paused then
  -- It is so.
elseif not A.paused then
  call('SREM', K.paused, queue)
  changed, rings.ready = true, true
else
  -- Leases read all of them once there is another: to count them costs no more.
  local others = 0
  for _, other in ipairs(call('SMEMBERS', K.paused)) do
    if other:sub(1, #of_tenant) == of_tenant then others = others + 1 end
  end
  full = others >= A.most
  if not full then
    call('SADD', K.paused, queue)
    changed = true
  end
end
if changed then registry_changed() end
finish()
return cmsgpack.pack({ changed = changed, full = full, rings = told() })
