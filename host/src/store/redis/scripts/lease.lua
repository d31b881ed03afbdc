-- Takes messages that are due: each is in unacked, under a tag that was never given before, in the step that takes it from
-- its list.

if (call('HGET', K.counters, 'registry') or '0') ~= A.registry then
  return cmsgpack.pack({ stale = true })
end

local PAGE = '1000'
-- So many elements that stand for nothing any more, and so many bytes of them, are left out in one call, however many there are: those who
-- put them there keep nobody else waiting.
local MOST_DROPPED, MOST_DROPPED_BYTES = 1000, 1048576
-- So many are read from a list at once: none of them may come along, and each may be large.
local MOST_READ, LARGE = 8, 262144
-- What many rows are told.
local NOW, UNTIL = int(A.now), int(A['until'])
local SCORE = NOW:sub(1, -7) .. '.' .. NOW:sub(-6)

-- The number of a tag that this host has given since it is here.
local function number_of(tag)
  local opening, number = tag:match('^lovage%-(%x%x%x%x%x%x)(%x+)/')
  return opening == OPENING and tonumber(number, 16) or nil
end

-- What was granted to this host by a call whose answer it never got.
if A.void then
  for _, tag in ipairs(call('ZRANGE', K.leases, 0, -1)) do
    if (number_of(tag) or -1) >= A.void then lapse(tag, A.now) end
  end
end

-- A page of what a time has come for; what of it does not go back now is due at once.
local function due_of(key, now) return call('ZRANGE', key, '-inf', now, 'BYSCORE', 'LIMIT', '0', PAGE) end

-- The newest first: where messages are too large to look behind them, the older ones are put before it.
local lapsed = due_of(K.leases, int(A.lapsed))
for i = #lapsed, 1, -1 do
  if is_enough_back() then break end
  lapse(lapsed[i], A.now)
end
for _, member in ipairs(due_of(K.scheduled, NOW)) do
  if is_enough_back() then break end
  promote(member, A.now)
end
put_back()

local leases, bytes, more, dropped, dropped_bytes = {}, 0, false, 0, 0
local waiting, until_tags, taken = within(gathered, K.waiting), {}, {}
local PREFIX = 'lovage-' .. OPENING

-- What is taken of a tenant: its counts, and what is told to its index and to unacked.
local function taken_of(t)
  local of = taken[t]
  if not of then
    of = { lines = within(counts, t), index = {}, held = {}, n = 0 }
    taken[t] = of
  end
  return of
end

-- Gives a message to who asks; `raw` is the element as it was. Its number and its tag.
local function grant(t, id, q, raw, was_ready)
  local number, of = A.first + #leases, taken_of(t)
  local tag = PREFIX .. format('%010x', number) .. '/' .. t .. '/' .. id
  local i, j, line = of.n, 2 * #leases, within(of.lines, q)
  of.n = i + 2
  of.index[i + 1], of.index[i + 2] = SCORE, tag
  of.held[i + 1], of.held[i + 2] = tag, held(raw, q)
  until_tags[j + 1], until_tags[j + 2] = UNTIL, tag
  line.l = (line.l or 0) + 1
  if was_ready then
    line.r = (line.r or 0) - 1
    waiting[t] = (waiting[t] or 0) - 1
  end
  return number, tag
end

-- Whether a message is too much beside what has been taken.
local function is_too_much(size)
  bytes = bytes + size
  if bytes <= MAX_BYTES or #leases == 0 then return false end
  more = true
  return true
end

-- Leaves out what stands for nothing any more; the rest of that next time, which is at once.
local function leave_out(size)
  dropped, dropped_bytes = dropped + 1, dropped_bytes + size
  if dropped >= MOST_DROPPED or dropped_bytes >= MOST_DROPPED_BYTES then more = true end
end

-- Whether somebody has the message of a row that is leased, by this call perhaps: it may have been taken back.
local function is_held(t, r)
  return (number_of(r.tag) or -1) >= A.first or lenient('HEXISTS', K.unacked(t), r.tag) == 1
end

-- One of ours. Whether it was taken, or was of no worth.
local function take_ours(source, raw, pos, t, id)
  local key = K.task(t, id)
  local v = call('HMGET', key, 'pl', 'pos', 'n', 'q', 'de', 'raw', 'm')
  local pl, n, q, m = v[1], v[3], v[4], v[7] or ''
  local is_current = v[2] == pos
  local is_ready = is_current and (pl == 'r' or pl == 'o')
  -- Taken back from a host that is thought to be lost.
  local lost = is_current and pl == 'l' and read_row(t, id)
  if not is_ready and (not lost or is_held(t, lost)) then
    count(source.t, source.q, 'x', -1)
    leave_out(#raw + #m)
    return true
  end
  if is_too_much(#m) then return false end
  if lost then
    take(t, id, lost)
    if lost.own then call('HDEL', key, 'own', 'ownm') end
  elseif pl == 'o' then
    zrem(K.ended, member_of(n, t, id))
  end
  local number, tag = grant(t, id, q, raw, pl == 'r')
  local de = tonumber(v[5] or 0) + 1
  call('HSET', key, 'pl', 'l', 'tag', tag, 'lw', A.worker, 'de', int(de))
  leases[#leases + 1] = { tonumber(n), number, t, id, m, v[6] == '1', de, q }
  return true
end

-- Takes a message that only the host can read; it has no row until then.
local function take_unread(source, raw)
  local number = grant(source.t, '', source.q, raw)
  leases[#leases + 1] = { 0, number, source.t, '', raw, true, 1, source.q }
end

-- Whether a second message of a task is to be taken instead of the first.
local function is_newer(t, r, retries)
  local before = tonumber(r.rt or 0)
  if r.pl == 'l' then return not is_held(t, r) end
  if r.pl == 'e' or r.pl == 'o' then return retries >= before or r.pl == 'e' end
  return retries > before
end

-- Makes a row that is not leased ready to be, for a message that takes the place of the old one.
local function replace(f, t, id, r)
  take(t, id, r)
  unlabel(t, id, r)
  for _, name in ipairs({ 'own', 'ownm', 'el', 'aw', 'ag', 'sl', 'ut' }) do forget_field(f, name) end
  set(f, 'si', NOW)
  if r.pl ~= 'e' then return end
  zrem(K.ended, member_of(r.n, t, id))
  for _, name in ipairs({ 'en', 're', 'tb', 'fa', 'us', 'ch', 'wo' }) do forget_field(f, name) end
  call('DEL', K.log(t, id), K.children(t, id))
  set(f, 'st', 'PENDING', 'sub', NOW)
  r.de = 0
end

-- A message that a client put there, in Celery's words. It gets a row now, unless it is a second one of a task that is
-- dealt with already.
local function take_foreign(source, raw)
  if is_too_much(#raw) then return false end
  local id, task, retries, root = glance(raw)
  if not id then id, task, retries, root = read(raw) end
  if not is_id(id) or not task then
    take_unread(source, raw)
    return true
  end
  local t, q = source.t, source.q
  retries = retries or 0
  local r = exists(t, id) and read_row(t, id) or nil
  if r and not is_newer(t, r, retries) then
    leave_out(#raw)
    return true
  end
  local f, n, de = {}, nil, 1
  if r then
    replace(f, t, id, r)
    n, de = r.n, tonumber(r.de or 0) + 1
  else
    n = int(next_of('number'))
    f = { 'n', n, 'st', 'PENDING', 'sub', NOW }
    zadd(K.tasks(t), n, id)
    add(K.tenants, t, 1)
  end
  -- Which list it is on says as much as its own priority.
  if r or source.step > 1 then set(f, 'pr', STEPS[source.step]) end
  if r or retries ~= 0 then set(f, 'rt', retries) end
  if r or root and root ~= id then set(f, 'ro', root or id) end
  local number, tag = grant(t, id, q, raw)
  if f.gone then call('HDEL', K.task(t, id), unpack(f.gone)) end
  call('HSET', K.task(t, id), 'm', raw, 'raw', '1', 'inl', '1', 'na', task, 'q', q, 'pos', int(next_of('pos')), 'pl', 'l', 'tag', tag,
    'lw', A.worker, 'de', int(de), unpack(f))
  leases[#leases + 1] = { tonumber(n), number, t, id, raw, true, de, q }
  return true
end

local function take_one(source, raw)
  local pos, t, id = mark_of(raw)
  if t == source.t then return take_ours(source, raw, pos, t, id) end
  return take_foreign(source, raw)
end

-- Who cannot hold what it takes is given nothing: its clients have put something else there.
local holds = {}
local function can_hold(t)
  if holds[t] == nil then
    local function is(key, kind)
      local there = call('TYPE', key).ok
      return there == 'none' or there == kind
    end
    holds[t] = is(K.unacked(t), 'hash') and is(K.unacked_index(t), 'zset')
  end
  return holds[t]
end

-- The first element of a list, which is read in pieces from its front, the end of each: small ones first, and again where messages are large.
local function first_of(source)
  if source.at > 0 then return source.piece[source.at] end
  local size = math.min(source.size, A.max - #leases)
  if source.over or size == 0 then return nil end
  local piece = lenient('LRANGE', source.key, -source.taken - size, -source.taken - 1) or {}
  local length = 0
  for i = 1, #piece do length = length + #piece[i] end
  source.piece, source.at, source.over = piece, #piece, #piece < size
  source.size = length < LARGE and math.min(size * 2, MOST_READ) or 1
  return piece[source.at]
end

local function open_source(list, step)
  return { key = K.list(list.t, list.q, step), t = list.t, q = list.q, step = step, at = 0, size = 1, taken = 0 }
end

-- The place of a source's first element; a client's has none, which is -1.
local function place_of(source)
  if not source.pos then
    local raw = first_of(source)
    source.pos = raw and position(raw) or -1
  end
  return source.pos
end

-- Of ours the oldest goes first. A client's has no age: its list takes turns with the others.
local function comes_before(one, other)
  local a, b = place_of(one), place_of(other)
  if a >= 0 and b >= 0 then return a < b end
  return one.taken < other.taken
end

-- The source whose turn it is; each call begins with another one, so that none waits until another is empty. One alone is not read for
-- that: its list is there.
local function in_turn(sources)
  local found, many = nil, #sources
  for i = 1, many do
    local source = sources[(A.first + i) % many + 1]
    local has_any = not source.piece or first_of(source)
    if has_any and (not found or comes_before(source, found)) then found = source end
  end
  return found
end

-- The lists that have something in them, of those who can hold it.
local function full_ones()
  local all, keys, left, full = {}, {}, 0, {}
  for step = 1, #STEPS do
    for _, list in ipairs(A.lists) do
      all[#all + 1] = open_source(list, step)
      keys[#all] = all[#all].key
    end
  end
  for from = 1, #keys, 4000 do left = left + call('EXISTS', unpack(keys, from, math.min(from + 3999, #keys))) end
  for _, source in ipairs(all) do
    if left == 0 then break end
    if call('EXISTS', source.key) == 1 then
      if can_hold(source.t) then full[#full + 1] = source end
      left = left - 1
    end
  end
  return full
end

local function trim(sources)
  for _, source in ipairs(sources) do
    if source.taken > 0 then call('LTRIM', source.key, 0, -source.taken - 1) end
  end
end

-- Takes the first element of a source, if there is one; false: it is too large to come along.
local function take_from(source)
  local raw = first_of(source)
  local is_taken = not raw or take_one(source, raw)
  if raw and is_taken then
    source.at, source.taken, source.pos = source.at - 1, source.taken + 1, nil
  end
  return is_taken
end

-- A tenant's next source: of the first step that has a message, the one whose turn it is.
local function advance(of)
  while of.at <= #STEPS do
    of.source = in_turn(of.steps[of.at])
    if of.source then return end
    of.at = of.at + 1
  end
end

local function is_before(a, b)
  if a.used ~= b.used then return a.used < b.used end
  if a.at ~= b.at then return a.at < b.at end
  return place_of(a.source) < place_of(b.source)
end

-- The tenants of some sources, each with its first one. One alone has no share.
local function tenants_of(all)
  local tenants, by_name = {}, {}
  for _, source in ipairs(all) do
    local of = by_name[source.t]
    if not of then
      local share = A.shares and A.shares[source.t] or { 0, 0, A.max }
      of = { steps = {}, at = 1, used = share[1], step = share[2], left = share[3] }
      for step = 1, #STEPS do of.steps[step] = {} end
      by_name[source.t] = of
      tenants[#tenants + 1] = of
    end
    local step = of.steps[source.step]
    step[#step + 1] = source
  end
  for _, of in ipairs(tenants) do
    if of.left > 0 then advance(of) end
  end
  return tenants
end

-- Next comes the tenant that has used least; see sharing.rs.
local function take_all(tenants)
  while #leases < A.max and not more do
    local turn = nil
    for i = 1, #tenants do
      local of = tenants[i]
      if of.source and of.left > 0 and (not turn or is_before(of, turn)) then turn = of end
    end
    if not turn then break end
    local before = #leases
    local is_taken = take_from(turn.source)
    if #leases > before then
      turn.used = turn.used + turn.step
      turn.left = turn.left - 1
    end
    if is_taken and turn.left > 0 then advance(turn) end
  end
end

if A.max > 0 then
  local all = full_ones()
  take_all(tenants_of(all))
  trim(all)
end
for t, of in pairs(taken) do
  spread('HSET', K.unacked(t), of.held)
  spread('ZADD', K.unacked_index(t), of.index, lenient)
end
spread('ZADD', K.leases, until_tags)
-- Who asks needs no bell for what it got; others may take what it left.
rings.ready = rings.ready and #leases >= A.max
finish()

local due = nil
for _, key in ipairs({ K.leases, K.scheduled }) do
  local first = tonumber(call('ZRANGE', key, '0', '0', 'WITHSCORES')[2] or nil)
  -- What has lapsed and is spared is looked at again in a second.
  if first and key == K.leases and first > A.lapsed and first <= A.now then first = A.now + 1000000 end
  if first and (not due or first < due) then due = first end
end
if more then due = A.now end
return cmsgpack.pack({ leases = leases, due = due, dropped = dropped })
