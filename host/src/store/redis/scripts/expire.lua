-- Drops tasks that ended before a time, the oldest first, and queues that nobody has used for long.

local dropped, time = 0, call('TIME')
-- Later than what is looked at here, whoever's clock is ahead: or it would be found again at once.
local now = math.max(time[1] * 1000000 + time[2], A.before)
for _, member in ipairs(call('ZRANGE', K.ended, '-inf', '(' .. int(A.before), 'BYSCORE', 'LIMIT', 0, A.max)) do
  local n, t, id = member:match('^(%d+)%z([^%z]+)%z(.*)$')
  local r = read_row(t, id)
  local waits_still = r and r.pl == 'o' and call('EXISTS', K.list(t, r.q, step_of(tonumber(r.pr or 0)))) == 1
  if r and r.pl == 'o' and not waits_still then count(t, r.q, 'x', 1) end
  if waits_still and tonumber(r.n) == tonumber(n) then
    -- It may be on its list: it is looked at again when it has been there for as long once more.
    zadd(K.ended, int(now), member)
  elseif r and tonumber(r.n) == tonumber(n) and (r.pl == 'e' or r.pl == 'o') then
    drop(t, id, r.n)
  else
    zrem(K.ended, member)
  end
  dropped = dropped + 1
end
local is_old = false
for _, queue in ipairs(call('ZRANGE', K.queues, '-inf', '(' .. int(A.before - 86400000000), 'BYSCORE', 'LIMIT', 0, 100)) do
  local t, q = queue:match('^([^%z]*)%z(.*)$')
  local is_used = false
  for step = 1, #STEPS do is_used = is_used or call('EXISTS', K.list(t, q, step)) == 1 end
  for _, kind in ipairs({ 'r', 's', 'b', 'l' }) do
    is_used = is_used or call('HEXISTS', K.lines(t), q .. '\0' .. kind) == 1
  end
  if not is_used then
    zrem(K.queues, queue)
    call('HDEL', K.lines(t), q .. '\0x')
    is_old = true
  end
end
finish()
if is_old then registry_changed() end
return dropped
