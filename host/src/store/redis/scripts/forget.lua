-- Drops a task that has ended.

local t, id = A.tenant, A.id
local r = read_row(t, id)
if not r then return cmsgpack.pack({ kind = 'unknown' }) end
if r.pl ~= 'e' then return cmsgpack.pack({ kind = 'busy', state = status(r) }) end
drop(t, id, r.n)
call('DEL', K.meta(t, id))
finish()
return cmsgpack.pack({ kind = 'done' })
