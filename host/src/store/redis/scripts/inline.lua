-- What follows in Celery's own form? Everything here is on Celery's keys, where its workers read and write as well.

-- Counts a part of a chord as Celery 5.7 does; who counts the last one has the chord to end.
local function return_part(t, part)
  local base = K.group(t, part.group)
  local j, size_key, extra, seen, claim = base .. '.j', base .. '.s', base .. '.t', base .. '.d', base .. '.c'
  if lenient('GET', claim) == 'done' then return end
  local score = part.index or '+inf'
  local is_list = call('TYPE', j).ok == 'list'
  if lenient('SADD', seen, part.id .. ':' .. score) == 1 then
    if is_list then lenient('RPUSH', j, part.encoded) else lenient('ZADD', j, score, part.encoded) end
  end
  local ready = is_list and lenient('LLEN', j) or lenient('ZCARD', j)
  for _, key in ipairs({ j, extra, size_key, seen }) do call('EXPIRE', key, TTL) end
  call('EXPIRE', base, TTL)
  local size = tonumber(lenient('GET', size_key) or nil)
  if not size or ready ~= size + (tonumber(lenient('GET', extra) or nil) or 0) then return end
  if call('SET', claim, 'lovage-' .. OPENING, 'NX', 'EX', CLAIM_TTL) then
    keep({ kind = 'chord', t = t, id = part.group, body = part.body, sender = part.sender })
  end
end

-- Applies all of it, in order.
local function apply_inline(t, inline, now)
  for _, group in ipairs(inline.groups) do
    local key = K.group(t, group.id)
    call('SETEX', key, TTL, group.text)
    call('PUBLISH', key, group.text)
  end
  for _, size in ipairs(inline.sizes) do
    local base = K.group(t, size.group)
    call('DEL', base .. '.c')
    call('SET', base .. '.s', size.size, 'EX', TTL)
  end
  for _, group in ipairs(inline.grown) do lenient('INCR', K.group(t, group) .. '.t') end
  for _, m in ipairs(inline.messages) do
    push(K.list(t, m.q, step_of(m.pr)), m.text)
    use(t, m.q, now)
    rings.ready = true
  end
  for _, one in ipairs(inline.ends) do put_meta(t, one.id, one.text) end
  for _, part in ipairs(inline.parts) do return_part(t, part) end
end

-- The keys of a chord that has been dealt with. Of one that failed the parts are kept for a while, as in Celery: who wants to
-- know what the others came to finds them there.
local function close_chord(t, group, failed)
  local base = K.group(t, group)
  call('DEL', base .. '.t', base .. '.s', base .. '.d')
  if not failed then call('DEL', base .. '.j') end
  call('SET', base .. '.c', 'done', 'EX', DONE_TTL)
end
