-- Lets a task that has ended run once more, with this message, if it is still as it was when that was made.

local t, id = A.tenant, A.id
local r = read_row(t, id)
if not r then return cmsgpack.pack({ kind = 'unknown' }) end
if r.pl ~= 'e' then return cmsgpack.pack({ kind = 'busy', state = status(r) }) end
if call('HGET', K.task(t, id), 'en') ~= A.ended then return cmsgpack.pack({ kind = 'changed' }) end
if backlog(t) + 1 > A.room.queued_tasks then return cmsgpack.pack({ kind = 'queued_tasks' }) end
local f = { 'st', 'PENDING', 'de', 0 }
for _, name in ipairs({ 'en', 're', 'tb', 'fa', 'us', 'ch', 'wo', 'last' }) do forget_field(f, name) end
call('DEL', K.log(t, id), K.children(t, id), K.meta(t, id))
zrem(K.ended, member_of(r.n, t, id))
-- Nothing is left to be taken from anywhere.
r.sl = nil
swap(f, t, id, r, A.d, A.now)
write_row(t, id, f)
finish()
return cmsgpack.pack({ kind = 'done', rings = told() })
