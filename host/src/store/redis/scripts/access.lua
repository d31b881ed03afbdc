-- Tenants and tokens: each a text, which only its reader understands.

local key = K[A.what]
if not A.key then return call('HGETALL', key) end
local known = call('HEXISTS', key, A.key)
if A.body then
  call('HSET', key, A.key, A.body)
else
  call('HDEL', key, A.key)
end
-- Its clients may put messages into a queue that nobody has used.
if A.what == 'registered' then
  registry_changed()
  rings.ready = true
end
finish()
ring('a')
return known
