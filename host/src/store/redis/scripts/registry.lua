-- Where do leases look? Every queue that was used lately, without those that are paused.

local queues = {}
for _, queue in ipairs(call('ZRANGE', K.queues, 0, -1)) do
  if call('SISMEMBER', K.paused, queue) == 0 then
    local t, q = queue:match('^([^%z]*)%z(.*)$')
    queues[#queues + 1] = { t = t, q = q }
  end
end
local paused = {}
for _, queue in ipairs(call('SMEMBERS', K.paused)) do
  local t, q = queue:match('^([^%z]*)%z(.*)$')
  paused[#paused + 1] = { t = t, q = q }
end
return cmsgpack.pack({
  registry = call('HGET', K.counters, 'registry') or '0',
  modules = call('HGET', K.counters, 'modules') or '0',
  queues = queues,
  paused = paused,
  tenants = call('HKEYS', K.registered),
})
