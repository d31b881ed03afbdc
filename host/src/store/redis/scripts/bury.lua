-- Ends a message that nobody can run: its bytes go to the dead ones, and whoever waits for it gets an answer.

local t = A.tenant
local text = lenient('HGET', K.unacked(t), A.tag)
if not text then return 0 end
lenient('HDEL', K.unacked(t), A.tag)
call('LPUSH', K.dead, unheld(text, A.queue))
call('LTRIM', K.dead, 0, MAX_DEAD - 1)
local id = A.d and A.d.id or A.id
local r = read_row(t, id)
if r and r.pl == 'l' and r.tag == A.tag then
  if A.d then
    local f = {}
    if r.raw then forget_field(f, 'raw') end
    message(f, t, id, r.n, A.d)
    write_row(t, id, f)
  end
  conclude(t, id, r, { st = 'FAILURE', done = true, at = A.now, re = A.exception, fa = 'unreadable' })
else
  zrem(K.unacked_index(t), A.tag)
  zrem(K.leases, A.tag)
  count(t, A.queue, 'l', -1)
end
for _, one in ipairs(A.metas) do put_meta(t, one.id, one.text) end
for _, part in ipairs(A.parts) do return_part(t, part) end
finish()
return rings.ended and 2 or 1
