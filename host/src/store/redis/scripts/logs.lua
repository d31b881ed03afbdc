-- The logs of a task's attempts, the first first.

if not exists(A.tenant, A.id) then return cmsgpack.pack({ known = false }) end
return cmsgpack.pack({ logs = call('LRANGE', K.log(A.tenant, A.id), 0, -1) })
