-- Modules: the versions of each are one text, which is changed only as it was read.

local key = K.modules(A.tenant)
if (call('HGET', key, A.name) or '') ~= A.before then return 0 end
if A.after then
  call('HSET', key, A.name, A.after)
  if A.before == '' then add(K.tenants, A.tenant, 1) end
elseif A.before ~= '' then
  call('HDEL', key, A.name)
  add(K.tenants, A.tenant, -1)
end
if A.digest then call('SET', K.component(A.digest), ARGV[3]) end
for _, one in ipairs(A.users) do
  if call('HINCRBY', K.users, one.digest, one.change) <= 0 then
    call('HDEL', K.users, one.digest)
    call('DEL', K.component(one.digest))
  end
end
call('HINCRBY', K.counters, 'modules', 1)
finish()
ring('m ' .. A.tenant)
return 1
