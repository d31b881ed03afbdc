-- Ends a message that nobody can run: its bytes go to the dead ones, and whoever waits for it gets an answer.

local t = A.tenant
local text = lenient('HGET', K.unacked(t), A.tag)
if not text then return 0 end
lenient('HDEL', K.unacked(t), A.tag)
call('LPUSH', K.dead, unheld(text, A.queue))
call('LTRIM', K.dead, 0, MAX_DEAD - 1)
local r = A.d and read_row(t, A.d.id)
if r and r.pl == 'l' and r.tag == A.tag then
  local f = {}
  if r.raw then forget_field(f, 'raw') end
  message(f, t, A.d.id, r.n, A.d)
  write_row(t, A.d.id, f)
  conclude(t, A.d.id, r, { st = 'FAILURE', done = true, at = A.now, re = A.exception, fa = 'unreadable' })
else
  zrem(K.unacked_index(t), A.tag)
  zrem(K.leases, A.tag)
  count(t, A.queue, 'l', -1)
end
for _, one in ipairs(A.metas) do put_meta(t, one.id, one.text) end
if A.part then return_part(t, A.part) end
finish()
return rings.ended and 2 or 1
