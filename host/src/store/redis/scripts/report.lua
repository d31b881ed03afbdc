-- Sets a state of a running task's own.

local v = call('HMGET', K.task(A.tenant, A.id), 'pl', 'tag')
if v[1] ~= 'l' or v[2] ~= A.tag then return 0 end
call('HSET', K.task(A.tenant, A.id), 'own', A.state, 'ownm', A.own)
if A.meta then put_meta(A.tenant, A.id, A.meta) end
return 1
