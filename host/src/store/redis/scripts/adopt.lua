-- What a host found in messages that a client put there, and that this host has taken: those that a script could not read
-- get their row, those that are not due yet wait for their time, stamps find their tasks.

-- Gives a message its row that had none, under the tag with its id. Whether it is to be run.
local function read(one)
  local t, id, d = one.tenant, one.d.id, one.d
  local text = lenient('HGET', K.unacked(t), one.blind)
  if not text then return false end
  lenient('HDEL', K.unacked(t), one.blind)
  zrem(K.unacked_index(t), one.blind)
  zrem(K.leases, one.blind)
  local r = read_row(t, id)
  if r and r.pl ~= 'e' then
    count(t, d.q, 'l', -1)
    return false
  end
  local f = {}
  if r then
    zrem(K.ended, member_of(r.n, t, id))
    for _, name in ipairs({ 'en', 're', 'tb', 'fa', 'us', 'ch', 'wo', 'th', 'raw' }) do forget_field(f, name) end
    call('DEL', K.log(t, id), K.children(t, id))
  end
  local n = r and r.n or int(next_of('number'))
  set(f, 'n', n, 'st', 'PENDING', 'sub', int(A.now), 'pos', int(next_of('pos')), 'si', int(A.now), 'pl', 'l', 'tag', one.tag,
    'lw', A.worker, 'de', '1')
  message(f, t, id, n, d)
  write_row(t, id, f)
  if not r then
    zadd(K.tasks(t), n, id)
    add(K.tenants, t, 1)
  end
  lenient('HSET', K.unacked(t), one.tag, text)
  zadd(K.unacked_index(t), format('%.6f', A.now / 1000000), one.tag)
  zadd(K.leases, int(A['until']), one.tag)
  return true
end

local function decoded(f, t, id, r, d)
  if r.raw then forget_field(f, 'raw') end
  message(f, t, id, r.n, d)
end

local function adopt(one)
  if one.blind and not read(one) then return { n = 0 } end
  local t, id, d = one.tenant, one.d.id, one.d
  local r = read_row(t, id)
  if not r or r.pl ~= 'l' or r.tag ~= one.tag then return { n = 0 } end
  local f = {}
  if one.later then
    local text = end_lease(f, t, id, r)
    set(f, 'de', tonumber(r.de) - 1)
    decoded(f, t, id, r, d)
    schedule(f, t, id, r, d.eta, text and without_place(text, r.q) or d.el, A.now)
  elseif not one.blind then
    decoded(f, t, id, r, d)
  end
  write_row(t, id, f)
  return { n = tonumber(r.n) }
end

local answers = {}
for i, one in ipairs(A.batch) do answers[i] = adopt(one) end
finish()
return cmsgpack.pack({ answers = answers, rings = told() })
